import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onPath, type Peer } from './peer.ts';
import { runProgram } from './process.ts';

const HELLO = fileURLToPath(new URL('../native/solo5-hello.c', import.meta.url));
const CC = 'x86_64-solo5-none-static-cc';
const LD = 'x86_64-solo5-none-static-ld';
const ELFTOOL = 'solo5-elftool';
const MANIFEST = '{ "type": "solo5.manifest", "version": 1, "devices": [] }\n';
const TIMEOUT_MS = 20_000;

/**
 * One of Solo5's tenders with a guest that says hello: the whole process. The guest is built with Solo5's own tool chain
 * (0.7 or later), because an image belongs to the version of its tender.
 * @throws Error why there is none here
 */
export async function solo5(tender: 'solo5-hvt' | 'solo5-spt', path: string = process.env.PATH ?? ''): Promise<Peer> {
  const program = onPath(tender, path);
  if (program === undefined) throw new Error(`${tender} is not on the PATH`);
  const missing = [CC, LD, ELFTOOL].filter((tool) => onPath(tool, path) === undefined);
  if (missing.length > 0) throw new Error(`${tender} is there, but not what makes its guest: ${missing.join(', ')}`);
  const folder = await mkdtemp(join(tmpdir(), 'kerb-bench-solo5-'));
  const stop = () => rm(folder, { recursive: true, force: true });
  const run = (tool: string, ...args: string[]) =>
    runProgram(onPath(tool, path)!, args, { cwd: folder, env: { ...process.env, PATH: path }, timeoutMs: TIMEOUT_MS });
  try {
    await writeFile(join(folder, 'manifest.json'), MANIFEST);
    await run(ELFTOOL, 'gen-manifest', 'manifest.json', 'manifest.c');
    await run(CC, '-c', 'manifest.c', '-o', 'manifest.o');
    await run(CC, '-c', HELLO, '-o', 'hello.o');
    await run(LD, '-z', `solo5-abi=${tender.slice('solo5-'.length)}`, 'manifest.o', 'hello.o', '-o', 'hello.guest');
    const once = () => runProgram(program, ['--mem=4', 'hello.guest'], { cwd: folder, timeoutMs: TIMEOUT_MS });
    await once();
    return { once, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
