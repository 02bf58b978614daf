import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A program of ours in a process of its own, with standard input as its lifeline. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #errors = '';
  #lines: AsyncIterator<string> | undefined;

  /** @param program By default Node, and the first argument is a file in TypeScript. */
  constructor(args: readonly string[], program?: string, env: Readonly<Record<string, string>> = {}) {
    const node = program === undefined ? ['--disable-warning=ExperimentalWarning'] : [];
    this.#child = spawn(program ?? process.execPath, [...node, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, KERB_STOP_WITH_STDIN: '1', KERB_LOG: 'warn', ...env },
    });
    this.#exited = once(this.#child, 'exit');
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-4096);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The next line that it prints. @throws Error with its standard error when it ends before that */
  async nextLine(): Promise<string> {
    this.#lines ??= createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    const { value, done } = await this.#lines.next();
    if (!done) return value;
    throw new Error(`a program of the bench ended: ${this.errors || 'it said nothing'}`);
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
