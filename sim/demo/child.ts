import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BackOff, backOffMs } from '../../shared/base/back-off.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** Becomes Node with the flags that a command needs; the process stays the same. */
const kerb = fileURLToPath(new URL('../../bin/kerb', import.meta.url));

export interface ChildSpec {
  /** Shown to people and used for the log file: `broker`, `obu` … */
  readonly name: string;
  /** Arguments of `kerb`. */
  readonly args: readonly string[];
  readonly logFile: string;
}

/** Tells `cli/kerb.ts` to stop when its standard input ends, which the kernel sees to even when we are killed. */
const lifeline = { KERB_STOP_WITH_STDIN: '1' };

/** Before it is started again. */
const RESTART: BackOff = { firstMs: 500, longestMs: 10_000 };

/**
 * One `kerb` daemon as a child process that is started again when it ends by itself, as systemd would.
 *
 * It gets a process group of its own, so that a Ctrl-C in the terminal reaches only us and the order of stopping stays
 * ours. Its standard input is a pipe that we hold: when we die of SIGKILL it sees the end of it and stops cleanly.
 */
export class SupervisedChild {
  readonly spec: ChildSpec;
  readonly #onDeath: (message: string) => void;
  #process: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #restartTimer: NodeJS.Timeout | undefined;
  /** It is being ended by us, for good or to be started again. */
  #ending = false;
  #stopped = false;
  #deathsInARow = 0;
  #lastDeath = '';
  #startedAt = 0;

  constructor(spec: ChildSpec, onDeath: (message: string) => void) {
    this.spec = spec;
    this.#onDeath = onDeath;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** How it ended the last time, and what it said; empty before. */
  get lastDeath(): string {
    return this.#lastDeath;
  }

  /** How often it ended without being asked to since it last ran for ten seconds. */
  get deathsInARow(): number {
    return this.#deathsInARow;
  }

  start(): void {
    const log = openSync(this.spec.logFile, 'a');
    try {
      this.#process = spawn(kerb, this.spec.args, {
        stdio: ['pipe', log, log],
        detached: true,
        env: { ...process.env, ...lifeline },
      });
    } finally {
      closeSync(log);
    }
    this.#startedAt = performance.now();
    const child = this.#process;
    child.stdin?.on('error', () => {}); // nobody writes to it; its death is seen by `exit`
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#died(error.message);
        resolve();
      });
      child.once('exit', (code, signal) => {
        if (!this.#ending) this.#died(signal ? `killed by ${signal}` : `exit code ${code}`);
        resolve();
      });
    });
  }

  #died(how: string): void {
    this.#process = undefined;
    if (performance.now() - this.#startedAt > 10_000) this.#deathsInARow = 0;
    this.#deathsInARow++;
    this.#lastDeath = `${this.spec.name} ended (${how})${this.#lastWords()}`;
    this.#onDeath(`${this.#lastDeath}; it is started again`);
    this.#restartTimer = setTimeout(() => this.start(), backOffMs(this.#deathsInARow, RESTART));
  }

  /** The last line of its log, which is where it says why. */
  #lastWords(): string {
    const line = lastLogLine(this.spec.logFile);
    return line ? `: ${line}` : `; its log is ${this.spec.logFile}`;
  }

  /** SIGTERM, and SIGKILL when it is still there after `graceMs`. Resolves when it is gone, for good. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    await this.#end(graceMs);
  }

  /** Stops it and starts it again, at once also when it waited for that. It stays away when it is stopped meanwhile. */
  async restart(graceMs: number): Promise<void> {
    await this.#end(graceMs);
    if (this.#stopped) return;
    this.#ending = false;
    this.#deathsInARow = 0;
    this.start();
  }

  async #end(graceMs: number): Promise<void> {
    this.#ending = true;
    clearTimeout(this.#restartTimer);
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const backstop = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await this.#exited;
    clearTimeout(backstop);
  }
}

/**
 * Runs one `kerb` command to its end and returns what it printed on standard output.
 * @throws KerbError SimulatorFailed with the last line of its standard error
 */
export function runKerb(args: readonly string[], options: { onLine?: (line: string) => void; signal: AbortSignal }) {
  return new Promise<string>((resolve, reject) => {
    const child = spawn(kerb, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...lifeline },
    });
    const abort = () => child.kill('SIGTERM');
    options.signal.addEventListener('abort', abort, { once: true });
    child.stdin.on('error', () => {});
    let out = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-8192);
      for (const line of text.split('\n')) if (line.trim()) options.onLine?.(line.trim());
    });
    const failed = (how: string) =>
      reject(
        new KerbError(ErrorCode.SimulatorFailed, `'kerb ${args.join(' ')}' failed: ${errors.trim() || how}`, { how }),
      );
    child.once('error', (error) => failed(error.message));
    child.once('close', (code, signal) => {
      options.signal.removeEventListener('abort', abort);
      if (options.signal.aborted) reject(new KerbError(ErrorCode.Cancelled, 'stopped'));
      else if (code === 0) resolve(out);
      else failed(signal ? `killed by ${signal}` : `exit code ${code}`);
    });
  });
}

/** The last line of a log of ours, when it says why: a complaint in the log, or a line from outside of the log. */
function lastLogLine(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return '';
  }
  const line = text.trimEnd().split('\n').at(-1)?.trim() ?? '';
  try {
    const entry = JSON.parse(line) as { msg?: unknown; level?: unknown; reason?: unknown; err?: unknown };
    if (typeof entry.msg !== 'string' || entry.level === 'info' || entry.level === 'debug') return '';
    const why = entry.reason ?? entry.err;
    return typeof why === 'string' ? `${entry.msg}: ${why}` : entry.msg;
  } catch {
    return line.slice(0, 300);
  }
}
