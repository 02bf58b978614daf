import { spawn } from 'node:child_process';

export interface RunOptions {
  readonly input?: Uint8Array;
  /** Of a good end; default 0. */
  readonly exitCode?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Then it is killed, and has failed. */
  readonly timeoutMs?: number;
}

/** Starts a program, gives it `input`, and resolves with all that it wrote to standard output when it has ended well. */
export function runProgram(file: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const { input, exitCode = 0, cwd, env, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd,
      env,
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const chunks: Buffer[] = [];
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdin.on('error', () => {}); // it ended before it had read all; its exit code says so
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === exitCode) resolve(Buffer.concat(chunks));
      else reject(new Error(`${file} ${args.join(' ')} ended with ${signal ?? code}: ${errors.trim()}`));
    });
    child.stdin.end(input);
  });
}
