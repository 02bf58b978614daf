import { spawn } from 'node:child_process';

/** Starts a program, gives it `input`, and resolves with all that it wrote to standard output when it has ended well. */
export function runProgram(file: string, args: readonly string[], input: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdin.on('error', () => {}); // it ended before it had read all; its exit code says so
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(chunks));
      else reject(new Error(`${file} ${args.join(' ')} ended with ${signal ?? code}: ${errors.trim()}`));
    });
    child.stdin.end(input);
  });
}
