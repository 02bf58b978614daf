/** Runs test/tender/cgroup-report.ts as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const TOP = join(import.meta.dirname, '../../..');
export const REPORT_PROGRAM = join(TOP, 'test/tender/cgroup-report.ts');

/** @throws Error when it ends without a report, with what it printed */
export function parseReport<T>(output: string): T {
  const [, json] = /^REPORT (\{.*\})\r?$/m.exec(output) ?? [];
  if (json === undefined) throw new Error(`no report: ${output.slice(-3000)}`);
  return JSON.parse(json) as T;
}

/** @param hold it goes on until it is killed; else it has ended */
export async function runReport<T>(args: readonly string[], hold = false): Promise<{ report: T; child: ChildProcess }> {
  const command = ['--disable-warning=ExperimentalWarning', REPORT_PROGRAM, ...args, ...(hold ? ['hold'] : [])];
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ended = once(child, 'close');
  const printed = new Promise<void>((resolve) => {
    const collect = (chunk: Buffer) => {
      output += chunk;
      if (/^REPORT .*$/m.test(output) && output.endsWith('\n')) resolve();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
  });
  await (hold ? Promise.race([printed, ended]) : ended);
  return { report: parseReport<T>(output), child };
}
