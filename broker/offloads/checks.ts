import type { Refusal } from '../../shared/base/refusal.ts';
import type { Results } from '../results/results.ts';
import type { OffloadTenants } from '../tenants/unlimited.ts';
import type { AnyOffload, Runnable, WithdrawnTask } from './offload.ts';
import { blockedTooLong, stopping, unfitFor } from './refusals.ts';
import type { Sessions } from './sessions.ts';

/** Decides whether an offload may be run here at all, and now; changes nothing. */
export class Checks {
  readonly #results: Results;
  readonly #tenants: OffloadTenants;
  readonly withdrawn = new Map<string, WithdrawnTask>();
  /** Why nothing is taken that was not asked for before; undefined when it is. */
  refuseNew: () => Refusal | undefined = () => undefined;
  sessions: Sessions | undefined;
  isStopping = false;

  constructor(results: Results, tenants: OffloadTenants) {
    this.#results = results;
    this.#tenants = tenants;
  }

  /** Why it can never be run here. */
  unfit(offload: AnyOffload, runnable: Runnable | undefined): Refusal | undefined {
    if (this.isStopping) return this.refuseNew() ?? stopping();
    const unfit = unfitFor(offload, runnable, this.withdrawn.get(offload.taskDigest));
    if (unfit !== undefined || runnable === undefined) return unfit;
    return this.#results.refusal(offload) ?? this.sessions?.refusal(offload, runnable);
  }

  /** Why it is not taken now. */
  notNow(offload: AnyOffload, runnable: Runnable, now: number): Refusal | undefined {
    return (
      this.refuseNew() ?? blockedTooLong(offload, runnable, now) ?? this.#tenants.check(offload, runnable.memory, now)
    );
  }
}
