/**
 * Runs in a kernel with CAN (see can-machine.ts): does the parts that its arguments name, one after the other, each on a new
 * vcan0, and writes what each found out to PART.json in the folder that its first argument names. One process for all: to
 * start Node costs seconds in an emulated kernel. What goes wrong in one part keeps no other from being done.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ip } from './can-utils.ts';

/** By name: each is loaded when it is its turn. */
const parts: Readonly<Record<string, () => Promise<{ run(): Promise<unknown> }>>> = {
  bus: () => import('./bus.ts'),
  losses: () => import('./losses.ts'),
  engine: () => import('./engine.ts'),
  namespaces: () => import('./namespaces.ts'),
  denied: () => import('./denied.ts'),
};

async function reportOf(part: string): Promise<unknown> {
  try {
    if (existsSync('/sys/class/net/vcan0')) ip('link', 'delete', 'vcan0');
    ip('link', 'add', 'dev', 'vcan0', 'mtu', '72', 'type', 'vcan');
    ip('link', 'set', 'vcan0', 'up');
    const { run } = await parts[part]!();
    return { report: await run() };
  } catch (error) {
    return { failed: error instanceof Error ? error.stack : String(error) };
  }
}

const [, , folder, ...wanted] = process.argv as string[];
for (const part of wanted) {
  // The machine's progress lines show the last of these.
  console.log(`${part}: begins`);
  const started = performance.now();
  const report = await reportOf(part);
  writeFileSync(join(folder!, `${part}.json`), JSON.stringify(report));
  console.log(`${part}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
process.exit();
