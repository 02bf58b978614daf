import type { Logger } from '../../shared/base/log.ts';
import { repeat } from '../../shared/base/pause.ts';
import type { PressureKind, PressureSample } from '../planner/resources/pressure.ts';
import type { PlanInput, Preempted } from '../planner/state.ts';
import { PRESSURE_SAMPLE_MS, type PressureLevels } from './pressure.ts';

export interface PressureWatchParts {
  readonly ladders: PressureLevels;
  /** Undefined: nobody measures it. */
  readonly read: (() => PressureSample) | undefined;
  readonly readCpuUse: (running: ReadonlyMap<string, string>) => ReadonlyMap<string, number> | undefined;
  readonly parked: () => PlanInput['parked'];
  /** Container by workload. */
  readonly running: () => ReadonlyMap<string, string>;
  /** Of every workload that does not run because of it. */
  readonly preempted: () => readonly Preempted[];
  readonly onChange: () => void;
  readonly log: Logger;
  readonly stopped: AbortSignal;
}

/** Measures what changes without an event: pressure, who uses the CPU, whether the vehicle is parked. */
export class PressureWatch {
  readonly #parts: PressureWatchParts;
  #cpuUse: ReadonlyMap<string, number> | undefined;

  constructor(parts: PressureWatchParts) {
    this.#parts = parts;
  }

  /** CPUs by workload; undefined when it is not known. */
  get cpuUse(): ReadonlyMap<string, number> | undefined {
    return this.#cpuUse;
  }

  /** Returns when it is stopped. */
  async run(): Promise<void> {
    const { ladders, readCpuUse, running, parked, onChange, stopped } = this.#parts;
    let wasParked = parked().holds;
    await repeat(PRESSURE_SAMPLE_MS, stopped, () => {
      this.#cpuUse = readCpuUse(running());
      const isParked = parked().holds;
      // Whoever uses the CPU now may be another one than before.
      if (this.#measure() || ladders.levels.cpu > 1 || isParked !== wasParked) onChange();
      wasParked = isParked;
    });
  }

  /** @returns whether a level is another one than before */
  #measure(): boolean {
    const { ladders, read, preempted, log } = this.#parts;
    if (read === undefined) return false;
    const all = preempted();
    const shed = (kind: PressureKind) => all.filter(({ cause }) => cause === `${kind}-pressure`).length;
    const isChanged = ladders.add(read(), { memory: shed('memory'), cpu: shed('cpu') }, performance.now());
    if (isChanged) log.warn({ reason: ladders.describe() }, 'pressure level changed');
    return isChanged;
  }
}
