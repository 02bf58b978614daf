import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A TypeScript program of ours in a process of its own, with standard input as its lifeline. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #errors = '';

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, KERB_STOP_WITH_STDIN: '1', KERB_LOG: 'warn' },
    });
    this.#exited = once(this.#child, 'exit');
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-4096);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** What it prints first. @throws Error with its standard error when it ends before that */
  async firstLine(): Promise<string> {
    const lines = createInterface({ input: this.#child.stdout! });
    const ended = this.#exited.then(() => {
      throw new Error(`a program of the bench ended: ${this.#errors.trim()}`);
    });
    ended.catch(() => {}); // it may end later, when nobody waits for the line any more
    const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
    return line;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get errors(): string {
    return this.#errors.trim();
  }

  async stop(): Promise<void> {
    if (this.ended) return;
    this.#child.kill('SIGTERM');
    await this.#exited;
  }
}
