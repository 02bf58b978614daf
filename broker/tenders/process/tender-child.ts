import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { TenderGroup } from '../cgroups/tender-groups.ts';

const HANG_UP_MS = 100;
const STDERR_KEPT = 2048;

export interface TenderChildEvents {
  /** Bytes of its socket. */
  readonly onData: (chunk: Buffer) => void;
  /** It could not be run. */
  readonly onFault: (error: Error) => void;
  /** It has ended, and what it has said has been read. */
  readonly onClose: (code: number | null, signal: NodeJS.Signals | null) => void;
}

/** The operating system's side of a tender: its process, its socket, and what it said last on standard error. */
export class TenderChild {
  readonly #child: ChildProcess;
  /** Undefined when there was no descriptor left for it. */
  readonly socket: Socket | undefined;
  /** Resolves when it has ended. */
  readonly closed: Promise<void>;
  readonly #group: TenderGroup | undefined;
  /** Resolves when it is in its control group, if it has one. */
  readonly #confined: Promise<void>;
  #stderr = '';

  /** @param group its control group; none: no limits from outside */
  constructor(binary: string, args: readonly string[], events: TenderChildEvents, group?: TenderGroup) {
    // Nothing of the broker goes along: no environment, no working directory, no descriptor but these.
    const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], env: {}, cwd: '/' });
    this.#child = child;
    // Without a descriptor left there are no pipes, whatever the types say; the error event tells.
    this.socket = child.stdio?.[3] as Socket | undefined;
    this.closed = new Promise((done) => child.once('close', () => done()));
    child.once('error', events.onFault);
    this.#group = group;
    this.#confined = group === undefined || child.pid === undefined ? Promise.resolve() : group.join(child.pid);
    this.#confined.catch(() => {}); // whoever waits for it hears of it
    // `close` comes after the last bytes of the dead, but not while somebody else holds its pipes.
    child.once('close', events.onClose);
    void this.closed.then(() => group?.free());
    // What it has said is read before that, also where this process was the slow one: see the backstop of a call.
    child.once('exit', () => setTimeout(() => setImmediate(() => this.#hangUp()), HANG_UP_MS).unref());
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-STDERR_KEPT);
    });
    this.socket?.on('data', events.onData);
    // The end of the process says more than a broken pipe does, and follows at once.
    this.socket?.on('error', () => {});
  }

  /** Undefined when it could not be run. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The last that it said on standard error, in one line. */
  get lastWords(): string {
    return this.#stderr.trim().replaceAll('\n', ', ');
  }

  /**
   * Resolves when it is in its control group, and may take no more than that there. It holds nothing of a stranger before.
   * @throws KerbError CgroupsUnavailable where control groups are required
   */
  async limitMemory(bytes: number): Promise<void> {
    await this.#confined;
    await this.#group?.limitMemory(bytes);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #hangUp(): void {
    this.socket?.destroy();
    this.#child.stderr?.destroy();
  }
}
