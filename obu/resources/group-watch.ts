import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { repeat } from '../../shared/base/pause.ts';
import type { Report } from '../telemetry/report.ts';
import type { WorkloadGroup } from './workload-group.ts';

const LOOK_MS = 2000;

/** The counters of the kernel for one container. */
interface Counts {
  readonly refused: number;
  readonly killed: number;
}

/**
 * Keeps the limit of the group that all containers are in, and names who wants more processes than it may have, and of
 * whom the kernel has killed one for want of memory: as long as that is not the first one, the container runs on.
 */
export class GroupWatch {
  readonly #group: WorkloadGroup;
  readonly #report: Report;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #loop: Promise<void> | undefined;
  #running: ReadonlyMap<string, string> = new Map();
  /** By container, what has been told of it. */
  #counts: ReadonlyMap<string, Counts> = new Map();
  #logged = '';

  constructor(group: WorkloadGroup, report: Report, log: Logger) {
    this.#group = group;
    this.#report = report;
    this.#log = log;
  }

  start(): void {
    // Groups left by an engine that was killed; no container is being made yet.
    this.#group.sweep();
    this.#loop ??= repeat(LOOK_MS, this.#abort.signal, () => {
      this.#limit();
      this.#count();
    });
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

  #limit(): void {
    const why = this.#group.limit();
    if (why !== '' && why !== this.#logged) {
      this.#log.warn({ reason: why }, 'cannot limit the total memory of workloads');
    }
    this.#logged = why;
  }

  #count(): void {
    const counts = new Map<string, Counts>();
    for (const [workload, container] of this.#running) {
      const now = { refused: this.#group.refusedProcesses(container), killed: this.#group.killedProcesses(container) };
      counts.set(container, now);
      const before = this.#counts.get(container) ?? { refused: 0, killed: 0 };
      if (now.refused > before.refused) {
        const message = 'it wants more processes and threads than its pids_limit, and is refused them';
        const error = new KerbError(ErrorCode.TooManyProcesses, message, { workload });
        this.#report({ event: 'workload-fault', workload, error });
      }
      if (now.killed > before.killed) {
        const message =
          'the kernel killed a process of it, because together they used more memory than its mem_limit (without one: than ' +
          'the others leave); its first process goes on';
        const error = new KerbError(ErrorCode.ProcessKilled, message, { workload });
        this.#report({ event: 'workload-fault', workload, error });
      }
    }
    this.#counts = counts;
  }
}
