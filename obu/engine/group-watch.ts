import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { WorkloadGroup } from './workload-group.ts';

const LOOK_MS = 2000;

/** Keeps the limit of the group that all containers are in, and names who wants more processes than it may have. */
export class GroupWatch {
  readonly #group: WorkloadGroup;
  readonly #onFault: (workload: string, error: KerbError) => void;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #loop: Promise<void> | undefined;
  #running: ReadonlyMap<string, string> = new Map();
  /** By container. */
  #refused: ReadonlyMap<string, number> = new Map();
  #said = '';

  constructor(group: WorkloadGroup, onFault: (workload: string, error: KerbError) => void, log: Logger) {
    this.#group = group;
    this.#onFault = onFault;
    this.#log = log;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
    this.#group.remove();
  }

  /** Container by workload, for those that run now. */
  follow(running: ReadonlyMap<string, string>): void {
    this.#running = running;
    this.#limit();
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      this.#limit();
      this.#countRefused();
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
    }
  }

  #limit(): void {
    const why = this.#group.limit();
    if (why !== '' && why !== this.#said) {
      this.#log.warn(`the memory that all workloads have together cannot be limited: ${why}`);
    }
    this.#said = why;
  }

  #countRefused(): void {
    const refused = new Map<string, number>();
    for (const [workload, container] of this.#running) {
      const count = this.#group.refusedProcesses(container);
      refused.set(container, count);
      if (count <= (this.#refused.get(container) ?? 0)) continue;
      const message = 'it wants more processes and threads than its pids_limit, and is refused them';
      this.#onFault(workload, new KerbError(ErrorCode.TooManyProcesses, message, { workload }));
    }
    this.#refused = refused;
  }
}
