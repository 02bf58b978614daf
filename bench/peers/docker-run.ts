import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { findEngine } from '../../obu/engine/find-engine.ts';
import { PrivateEngine } from '../../obu/engine/private-engine.ts';
import { silentLog } from '../../shared/base/log.ts';
import { runProgram } from './process.ts';

const run = promisify(execFile);

/** `docker run --rm` of one static program, from an image that is there, with no network: as quick as it gets. */
export class DockerRun {
  readonly #host: string;
  readonly #tag: string;
  readonly #undo: () => Promise<void>;

  private constructor(host: string, tag: string, undo: () => Promise<void>) {
    this.#host = host;
    this.#tag = tag;
    this.#undo = undo;
  }

  /** Uses the engine that answers, else a private one in a folder of its own. */
  static async start(program: string): Promise<DockerRun> {
    let host = (await findEngine(silentLog()))?.host;
    let undo = async () => {};
    if (host === undefined) {
      const folder = await mkdtemp(join(tmpdir(), 'kerb-bench-'));
      const engine = new PrivateEngine(stateLayout(folder), silentLog());
      undo = async () => {
        await engine.stop();
        await rm(folder, { recursive: true, force: true });
      };
      try {
        host = (await engine.start()).host;
      } catch (error) {
        await undo();
        throw error;
      }
    }
    const tag = `kerbside-bench/${basename(program)}:1`;
    const context = await mkdtemp(join(tmpdir(), 'kerb-bench-image-'));
    try {
      const tar = join(context, 'image.tar');
      await run('tar', ['-C', dirname(program), '-cf', tar, basename(program)]);
      const entry = JSON.stringify([`/${basename(program)}`]);
      await run('docker', ['-H', host, 'import', '-c', `ENTRYPOINT ${entry}`, tar, tag]);
    } catch (error) {
      await undo();
      throw error;
    } finally {
      await rm(context, { recursive: true, force: true });
    }
    return new DockerRun(host, tag, undo);
  }

  call(input: Uint8Array): Promise<Buffer> {
    return runProgram('docker', ['-H', this.#host, 'run', '--rm', '-i', '--network', 'none', this.#tag], { input });
  }

  async stop(): Promise<void> {
    await run('docker', ['-H', this.#host, 'rmi', '-f', this.#tag]).catch(() => {});
    await this.#undo();
  }
}
