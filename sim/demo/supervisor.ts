import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RecentError } from '../../shared/api/status.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import { SupervisedChild } from './child.ts';

/** What one step of the start-up waits for at most. Building two images on a small board is the slowest. */
const STEP_TIMEOUT_MS = 300_000;
/** Between two looks whether a daemon is ready. */
const READY_MS = 150;
/** A daemon that is asked to stop is killed after this time. */
const STOP_GRACE_MS = 20_000;
const MAX_ERRORS = 50;

export interface SupervisorOptions {
  /** Folder of the daemons' logs. */
  readonly logs: string;
  /** The daemons are put there, to be stopped in reverse. */
  readonly parts: RunningParts;
  /** Ends a wait for a daemon. */
  readonly signal: AbortSignal;
  readonly onStop: (name: string) => void;
}

/** The daemons of the main job, each a `kerb` process of its own with a log file. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: SupervisedChild[] = [];
  readonly #errors: RecentError[] = [];

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** What happened to the daemons, the newest last. */
  get errors(): readonly RecentError[] {
    return this.#errors;
  }

  /** Starts `kerb ARGS`, and starts it again whenever it ends by itself. @throws KerbError Cancelled */
  async spawn(name: string, args: readonly string[]): Promise<SupervisedChild> {
    const logFile = join(this.#options.logs, `${name}.log`);
    writeFileSync(logFile, '');
    const child = new SupervisedChild({ name, args, logFile }, (message) => this.#note(message));
    await this.#options.parts.begin(name, {
      start: () => child.start(),
      stop: () => {
        this.#options.onStop(name);
        return child.stop(STOP_GRACE_MS);
      },
    });
    this.#children.push(child);
    return child;
  }

  /** Stops and starts these again, one after the other, in the order of their first start. */
  async restart(names: ReadonlySet<string>): Promise<void> {
    for (const child of this.#children) {
      if (this.#options.signal.aborted) return;
      if (names.has(child.spec.name)) await child.restart(STOP_GRACE_MS);
    }
  }

  /**
   * Tries again until `attempt` does not throw.
   * @throws KerbError SimulatorFailed when the child ends or takes too long; Cancelled
   */
  async untilReady<T>(child: SupervisedChild, attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + STEP_TIMEOUT_MS;
    const { signal } = this.#options;
    for (;;) {
      if (signal.aborted) throw new KerbError(ErrorCode.Cancelled, 'stopped');
      try {
        return await attempt();
      } catch (error) {
        // What ends before it was ever ready will not be better the next time.
        if (child.deathsInARow > 0) throw new KerbError(ErrorCode.SimulatorFailed, child.lastDeath);
        if (performance.now() > deadline) throw tooLate(child, error);
      }
      await pause(READY_MS, signal);
    }
  }

  #note(message: string): void {
    const time = new Date().toISOString();
    this.#errors.push({ time, source: 'kerb sim drive', code: ErrorCode.SimulatorFailed, message });
    if (this.#errors.length > MAX_ERRORS) this.#errors.shift();
  }
}

function tooLate({ spec }: SupervisedChild, error: unknown): KerbError {
  const why = isKerbError(error) ? error.message : messageOf(error);
  return new KerbError(
    ErrorCode.SimulatorFailed,
    `${spec.name} was not ready after ${STEP_TIMEOUT_MS / 1000} s: ${why}; its log is ${spec.logFile}`,
  );
}
