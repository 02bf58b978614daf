import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, isKerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import { nextExpiry } from '../tenants/package-rules.ts';
import type { PackageStore } from './package-store.ts';
import type { StoredPackage } from './stored-package.ts';

/** The clock may be set meanwhile, and a timer does not notice: no longer than this, in milliseconds. */
const MAX_WAIT_MS = 60_000;

export interface PackageReviewOptions {
  readonly store: PackageStore;
  /** Runs an action while nothing else changes the store. */
  readonly alone: <T>(action: () => Promise<T>) => Promise<T>;
  /** A package is run again. */
  readonly onRestored: (found: TaskPackage) => void;
  /** A package is run no more, from this moment. */
  readonly onWithdrawn: (found: StoredPackage) => void;
  /** Other tenants than before run packages. */
  readonly onChanged: () => void;
  readonly errors: RecentErrors;
  readonly log: Logger;
}

/** Holds the packages against the policy whenever that changes, and against the clock whenever a signature expires. */
export class PackageReview {
  readonly #options: PackageReviewOptions;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: PackageReviewOptions) {
    this.#options = options;
  }

  start(): void {
    this.watch();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** Resolves when all that follows is done; never fails. */
  async review(): Promise<void> {
    const { store, alone, onRestored, onWithdrawn, onChanged, errors, log } = this.#options;
    try {
      await alone(async () => {
        if (this.#isStopped) return;
        const { restored, withdrawn, isChanged } = await store.review();
        for (const found of withdrawn) {
          const { message, code } = found.fault!;
          onWithdrawn(found);
          log.error({ digest: found.digest, code, err: message }, 'a task package is no longer run');
          errors.add(`${found.name} ${found.version}`, code, message);
        }
        for (const found of restored) {
          onRestored(found);
          log.info({ digest: found.digest, task: found.config.name }, 'a task package is run again');
        }
        if (isChanged) onChanged();
      });
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the task packages could not be held against the policy');
      errors.add('policy', isKerbError(error) ? error.code : ErrorCode.StateUnavailable, messageOf(error));
    }
    this.watch();
  }

  /** Waits for the next signature to expire. To be called when packages have come. */
  watch(): void {
    clearTimeout(this.#timer);
    if (this.#isStopped) return;
    const now = Date.now();
    const next = nextExpiry(this.#options.store.stored, now);
    if (next === Number.POSITIVE_INFINITY) return;
    const isDue = next - now <= MAX_WAIT_MS;
    const wait = isDue ? next - now : MAX_WAIT_MS;
    this.#timer = setTimeout(() => (isDue ? void this.review() : this.watch()), Math.max(1, wait));
    this.#timer.unref();
  }
}
