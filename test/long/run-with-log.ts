import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';

export interface LoggedRun {
  /** In which it runs. */
  readonly folder: string;
  /** File to which all that it prints is added. */
  readonly log: string;
}

/** Runs a program. @returns what it printed; @throws Error with the end of that when it fails */
export function runWithLog(
  program: string,
  args: readonly string[],
  { folder, log: file }: LoggedRun,
): Promise<string> {
  const log = createWriteStream(file, { flags: 'a' });
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      log.write(text);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      log.end();
      if (code === 0) {
        resolve(output);
        return;
      }
      const end = output.trimEnd().split('\n').slice(-40).join('\n');
      reject(new Error(`${program} ended with ${code ?? signal} (all of it: ${file})\n${end}`));
    });
  });
}
