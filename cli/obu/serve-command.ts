import { flushCompileCache } from 'node:module';
import { resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { parseObuConfig } from '../../obu/config/config.ts';
import { type RunningObu, startObu } from '../../obu/main.ts';
import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import { ServiceManager } from '../../shared/host/service-manager.ts';
import { readNamedFile } from '../../shared/yaml/named-file.ts';
import { withAllProblems } from './problems.ts';

export interface ServeOptions {
  readonly config: string;
  readonly manifest?: string;
  readonly state: string;
  readonly api: string;
}

/**
 * Pictures are large buffers outside the heap. V8 counts them when it decides to collect, and by itself collects the
 * whole heap every few megabytes: with one camera of 640x480 at 15/s, a hundred times a minute, nearly half of the OBU's work. With
 * room for one and a half times the heap it is a third of that, for 20 MB more.
 */
function growHeapFirst(): void {
  setFlagsFromString('--heap-growing-percent=150');
}

/** `kerb obu serve`: until SIGINT or SIGTERM. */
export async function serve(options: ServeOptions): Promise<void> {
  const log = createLog('obu');
  const manager = new ServiceManager({ env: process.env, pid: process.pid, log });
  const cancel = new AbortController();
  const hurry = new AbortController();
  let running: RunningObu | undefined;
  let signals = 0;
  const stopped = new Promise<void>((resolveStopped) => {
    const onSignal = (signal: NodeJS.Signals) => {
      signals++;
      log.info({ signal }, signals === 1 ? 'stopping' : 'stopping at once');
      if (signals > 1) hurry.abort();
      cancel.abort();
      resolveStopped();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  try {
    const config = parseObuConfig(await readNamedFile(options.config, ErrorCode.BadConfig), options.config);
    if (config.cameras.length > 0) growHeapFirst();
    const manifest = options.manifest && {
      file: options.manifest,
      text: await readNamedFile(options.manifest, ErrorCode.BadManifest),
    };
    running = await startObu({
      config,
      log,
      signal: cancel.signal,
      hurry: hurry.signal,
      ...(manifest && { manifest }),
      state: resolve(options.state),
      api: resolve(options.api),
    });
    flushCompileCache(); // a daemon has no end at which Node would do it by itself, if it is killed
    await manager.ready(`OBU ${config.obu}: ${running.status().workloads.length} workloads`);
    await stopped;
    await manager.stopping();
    await running.stop();
    log.info('stopped');
  } catch (error) {
    if (cancel.signal.aborted && isKerbError(error, ErrorCode.Cancelled)) return; // stopped in the middle of the start
    throw withAllProblems(error);
  }
}
