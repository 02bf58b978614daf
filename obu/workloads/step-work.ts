import { setTimeout as sleep } from 'node:timers/promises';
import { steadyMs } from '../../shared/base/clock.ts';
import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import { engineMessage, engineStatus } from '../engine/docker-client.ts';
import { workloadOf } from '../planner/in-flight.ts';
import { rememberRefusedStart, rememberStart } from '../planner/restart.ts';
import type { Action } from '../planner/state.ts';
import type { EngineLooks } from './observation/engine-looks.ts';
import type { ImageLooks } from './observation/image-looks.ts';
import type { Observer } from './observation/observer.ts';
import type { ReconcilerParts } from './reconciler-parts.ts';
import type { RunningSteps } from './running-steps.ts';
import type { WorkloadRecords } from './workload-records.ts';

/** What a step has changed could not be looked at: again after this time. */
const LOOK_AGAIN_MS = 1000;
/** What says that a start was refused because of the workload. */
const REFUSED_START: ReadonlySet<number> = new Set([ErrorCode.ContainerFailed, ErrorCode.GatewayUnavailable]);

export interface StepWorkParts extends Pick<ReconcilerParts, 'runner' | 'beforeRemove' | 'report' | 'log'> {
  readonly inHand: RunningSteps;
  readonly records: WorkloadRecords;
  readonly observer: Observer;
  readonly images: ImageLooks;
  readonly looks: EngineLooks;
  readonly stopped: AbortSignal;
}

/** Carries out the steps of plans, and looks what came of each before it is no longer in hand. */
export class StepWork {
  readonly #parts: StepWorkParts;

  constructor(parts: StepWorkParts) {
    this.#parts = parts;
  }

  /** @param done called when it is no longer in hand */
  begin(step: Action, done: () => void): void {
    this.#parts.report({ event: 'step', workload: workloadOf(step), step: step.step, why: step.why });
    const run = async () => {
      if (await this.#carryOut(step)) await this.#seeResult(step);
    };
    this.#parts.inHand.begin(step, run, done);
  }

  /** @returns false when it is known that nothing came of it */
  async #carryOut(step: Action): Promise<boolean> {
    const { runner, beforeRemove, inHand, records, stopped } = this.#parts;
    try {
      if (step.step === 'remove') await beforeRemove(step.container);
      await runner.run(step);
      inHand.succeeded(step);
      if (step.step === 'create-and-start') records.changeKnown(workloadOf(step), rememberStart);
    } catch (error) {
      if (stopped.aborted || this.#rememberedAsRefused(step, error)) return false;
      this.#complain(step, error);
    }
    return true;
  }

  /**
   * A container that could not be made or started is remembered as one of the ends of its workload.
   * @returns whether it was that
   */
  #rememberedAsRefused(step: Action, error: unknown): boolean {
    if (step.step !== 'create-and-start') return false;
    if (!isKerbError(error) || !REFUSED_START.has(error.code)) return false;
    const workload = workloadOf(step);
    const { log, records } = this.#parts;
    log.warn({ workload, code: error.code, err: error.message }, 'cannot start the workload');
    const nowMs = steadyMs();
    records.changeKnown(workload, (record) => rememberRefusedStart(record, error.message, nowMs));
    return true;
  }

  #complain(step: Action, error: unknown): void {
    const { inHand, looks } = this.#parts;
    if (engineStatus(error) === undefined && !isKerbError(error)) {
      looks.failed(error);
      return;
    }
    // It answers: the others go on.
    inHand.refused(step, steadyMs());
    looks.complain(error);
  }

  /** A step is in hand until it is seen what came of it: the next plan is made from that. */
  async #seeResult(step: Action): Promise<void> {
    const { runner, observer, images, log, stopped: signal } = this.#parts;
    while (!signal.aborted) {
      try {
        if (step.step === 'keep-image' || step.step === 'release-image') return await images.ask();
        const id = runner.containerOf(step);
        return id === undefined ? await observer.lookAtAll() : await observer.lookAt(id);
      } catch (error) {
        log.debug({ step: step.step, err: engineMessage(error) }, 'cannot observe the result of a step');
        await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
      }
    }
  }
}
