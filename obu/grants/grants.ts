import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { CanFilter } from '../../shared/can/filter.ts';
import { pathMatcher } from '../../shared/vss/expand-paths.ts';
import { compileScopes, type ScopeCheck, type SignalAction } from '../../shared/vss/scopes.ts';
import { freshOf, type VehicleSignals } from '../../shared/vss/signal.ts';
import type { CanRouter } from '../can/router.ts';
import { WriteGuard } from '../can/write-guard.ts';
import type { Camera } from '../dashcam/capture/camera.ts';
import type { OffloadGrant, Workload } from '../manifest/workload.ts';

/** Branches in one request: each is held against every leaf there is. */
const MAX_PATTERNS = 64;

/** The buses, signals, cameras and tasks of this OBU, before anything is granted. */
export interface Offers {
  readonly routers: ReadonlyMap<string, CanRouter>;
  readonly signals: VehicleSignals;
  readonly cameras: ReadonlyMap<string, Camera>;
  /** Digest of the task package by the name that grants use. */
  readonly tasks: ReadonlyMap<string, string>;
}

/**
 * The grants of one workload, held against what it asks for. Every refusal names what the manifest would have to say.
 * Everybody who serves the workload asks the same guard, so that other grants hold for all of them at once.
 */
export class GrantGuard {
  #workload: Workload;
  readonly #offers: Offers;
  /** By bus, made at its first write: the rates are those of the workload, however many connections it has. */
  readonly #writes = new Map<string, WriteGuard>();
  #allows: ScopeCheck;

  constructor(workload: Workload, offers: Offers) {
    this.#workload = workload;
    this.#offers = offers;
    this.#allows = compileScopes(workload.grants.signals);
  }

  /** As the manifest has it now. */
  get workload(): Workload {
    return this.#workload;
  }

  /** From now on the grants are those of this one. */
  regrant(workload: Workload): void {
    this.#allows = compileScopes(workload.grants.signals);
    this.#workload = workload;
    for (const [bus, { grant }] of this.#writes) {
      const now = workload.grants.can.find((one) => one.bus === bus);
      // Others begin with fresh rates.
      if (JSON.stringify(now) !== JSON.stringify(grant)) this.#writes.delete(bus);
    }
  }

  /** All signals of the vehicle; ask the guard before anything is done with one. */
  get source(): VehicleSignals {
    return this.#offers.signals;
  }

  /** @throws KerbError NotGranted | UnknownBus */
  can(bus: string): { readonly router: CanRouter; readonly granted: readonly CanFilter[] } {
    const grant = this.#workload.grants.can.find((one) => one.bus === bus);
    if (grant === undefined) {
      throw this.#notGranted(`read CAN bus "${bus}"`, `x-obu.grants.can: [{ bus: ${bus}, read: ["ID:MASK"] }]`);
    }
    return { router: this.#router(bus), granted: grant.read };
  }

  /** @throws KerbError NotGranted | UnknownBus */
  canWrite(bus: string): { readonly router: CanRouter; readonly writes: WriteGuard } {
    const grant = this.#workload.grants.can.find((one) => one.bus === bus);
    if (grant === undefined || grant.write.length === 0) {
      const wanted = `x-obu.grants.can: [{ bus: ${bus}, write: [{ id: "ID" }] }]`;
      throw this.#notGranted(`write to CAN bus "${bus}"`, wanted, { reason: 'grant' });
    }
    const router = this.#router(bus);
    let writes = this.#writes.get(bus);
    if (writes === undefined) {
      writes = new WriteGuard(grant, { workload: this.#workload.name, freshOf: freshOf(this.#offers.signals) });
      this.#writes.set(bus, writes);
    }
    return { router, writes };
  }

  #router(bus: string): CanRouter {
    const router = this.#offers.routers.get(bus);
    if (router === undefined) {
      throw new KerbError(ErrorCode.UnknownBus, `this OBU has no CAN bus "${bus}"`, { bus });
    }
    return router;
  }

  /**
   * The leaves that these paths mean and the workload may read.
   * @param matcherOf what a path means that is not a leaf
   * @throws KerbError UnknownSignal for a path that this vehicle doesn't have, NotGranted for one of which no leaf is
   * granted
   */
  signals(paths: readonly string[], matcherOf = pathMatcher): Set<string> {
    if (paths.length === 0) {
      throw new KerbError(ErrorCode.BadGatewayRequest, 'a subscription to signals has to name at least one path');
    }
    const { signals } = this.#offers;
    const all = signals.paths();
    const leaves = new Set<string>();
    let patterns = 0;
    for (const path of paths) {
      if (signals.info(path) !== undefined) {
        this.signal('read', path);
        leaves.add(path);
        continue;
      }
      if (++patterns > MAX_PATTERNS) {
        throw new KerbError(
          ErrorCode.TooManyRequests,
          `more than ${MAX_PATTERNS} branches and paths with * in one request, which is the limit`,
        );
      }
      const isAsked = matcherOf(path);
      const meant = all.filter(isAsked);
      // Said before grants are spoken of: a grant for what is not there would be refused in the manifest.
      if (meant.length === 0) throw unknownSignal(path);
      const mayRead = this.readable(meant);
      if (mayRead.length === 0) throw this.#signalNotGranted('read', path);
      for (const leaf of mayRead) leaves.add(leaf);
    }
    return leaves;
  }

  /**
   * Lets pass what the workload may do with one leaf.
   * @throws KerbError NotGranted | UnknownSignal
   */
  signal(action: SignalAction, path: string): void {
    if (this.#offers.signals.info(path) === undefined) throw unknownSignal(path);
    if (!this.#allows(action, path)) throw this.#signalNotGranted(action, path);
  }

  /** The leaves among these that the workload may read. */
  readable(leaves: readonly string[]): string[] {
    return leaves.filter((leaf) => this.#allows('read', leaf));
  }

  /**
   * The camera and the rate, which is never above the granted one. @throws KerbError NotGranted | UnknownCamera
   * @param fps 0: as granted
   */
  camera(name: string, fps: number): { readonly camera: Camera; readonly fps: number } {
    const grant = this.#workload.grants.cameras.find((one) => one.name === name);
    if (grant === undefined) {
      throw this.#notGranted(`see camera "${name}"`, `x-obu.grants.cameras: [{ name: ${name}, maxFps: 10 }]`);
    }
    const camera = this.#offers.cameras.get(name);
    if (camera === undefined) {
      throw new KerbError(ErrorCode.UnknownCamera, `this OBU has no camera "${name}"`, { camera: name });
    }
    return { camera, fps: fps === 0 ? grant.maxFps : Math.min(fps, grant.maxFps) };
  }

  /** Digest of the task package. @throws KerbError NotGranted | UnknownTask */
  task(name: string, budgetMs: number): string {
    const grant = this.#workload.grants.offload;
    if (grant === undefined || !grant.tasks.includes(name)) {
      const tasks = [...(grant?.tasks ?? []), name].map((task) => `"${task}"`).join(', ');
      const wanted = `x-obu.grants.offload: { tasks: [${tasks}], maxBudgetMs: ${grant?.maxBudgetMs ?? Math.ceil(budgetMs)} }`;
      throw this.#notGranted(`offload task "${name}"`, wanted);
    }
    if (budgetMs > grant.maxBudgetMs) {
      throw this.#notGranted(
        `offload with a budget of ${Math.ceil(budgetMs)} ms`,
        `x-obu.grants.offload.maxBudgetMs: ${Math.ceil(budgetMs)} (it is ${grant.maxBudgetMs})`,
      );
    }
    const digest = this.#offers.tasks.get(name);
    if (digest === undefined) {
      throw new KerbError(ErrorCode.UnknownTask, `the configuration of this OBU gives no digest for task "${name}"`, {
        task: name,
      });
    }
    return digest;
  }

  /** The grant's limits on the places of its offloads. */
  get placeLimits(): Pick<OffloadGrant, 'places' | 'maxCost'> {
    return this.#workload.grants.offload ?? {};
  }

  /** @throws KerbError NotGranted: its offloads may not go with this key of session state */
  state(key: string): void {
    const granted = this.#workload.grants.offload?.state ?? [];
    if (granted.includes(key)) return;
    const keys = [...granted, key].map((one) => JSON.stringify(one)).join(', ');
    throw this.#notGranted(`use the session state ${JSON.stringify(key)}`, `x-obu.grants.offload.state: [${keys}]`);
  }

  #signalNotGranted(action: SignalAction, path: string): KerbError {
    const denied = this.#workload.grants.signals.find((scope) => {
      return scope.deny && scope.action === action && scope.matches(path);
    });
    const wanted = `x-obu.grants.signals: ["${action}:${path}"]`;
    return this.#notGranted(
      `${action} signal "${path}"`,
      denied === undefined ? wanted : `${wanted} and not "${denied.text}", which denies it`,
    );
  }

  #notGranted(what: string, wanted: string, more: object = {}): KerbError {
    const { name } = this.#workload;
    return new KerbError(ErrorCode.NotGranted, `workload ${name} may not ${what}; its manifest would need ${wanted}`, {
      workload: name,
      wanted,
      ...more,
    });
  }
}

function unknownSignal(path: string): KerbError {
  const message = `this OBU has no signal "${path}"; its mapping files name those that it has`;
  return new KerbError(ErrorCode.UnknownSignal, message, { path });
}
