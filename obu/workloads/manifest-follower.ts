import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { ContainerInterfaces } from '../can-interface/container-interface.ts';
import { effectiveGrants, type Gateways } from '../gateway/gateways.ts';
import type { Desired } from '../planner/state.ts';
import type { DesiredState } from '../state/desired-state.ts';
import { configHash } from './container-spec.ts';
import type { Reconciler } from './reconciler.ts';

export interface ManifestFollowerParts {
  readonly desired: Pick<DesiredState, 'follow'>;
  readonly gateways: Pick<Gateways, 'follow'>;
  readonly interfaces: Pick<ContainerInterfaces, 'follow'>;
  readonly reconciler: Pick<Reconciler, 'setDesired'>;
  readonly log: Logger;
}

/**
 * Holds what runs to the manifest that was applied last. What a manifest takes away is taken away at once: a running
 * container loses its grants before anything is planned, and does not keep them until it is replaced.
 */
export class ManifestFollower {
  readonly #parts: ManifestFollowerParts;
  #unfollow: (() => void) | undefined;

  constructor(parts: ManifestFollowerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unfollow ??= this.#parts.desired.follow((wanted) => this.#hold(wanted));
  }

  stop(): void {
    this.#unfollow?.();
  }

  #hold(wanted: readonly Desired[]): void {
    const { gateways, interfaces, reconciler, log } = this.#parts;
    const workloads = wanted.map(({ workload }) => workload);
    gateways.follow(workloads, configHash);
    // Takes a while in the kernel. One that fails has no interfaces, and what is planned does not wait for it.
    interfaces.follow(effectiveGrants(workloads, configHash)).catch((error: unknown) => {
      log.error({ err: messageOf(error) }, 'the CAN interfaces of containers could not follow the manifest');
    });
    reconciler.setDesired(wanted);
  }
}
