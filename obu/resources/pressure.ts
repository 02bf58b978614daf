/** Pressure levels from the kernel's measure of how long programs wait for memory and CPU (PSI). */
import { readFileSync } from 'node:fs';
import { isErrno } from '../../shared/base/errors.ts';
import {
  nextLevel,
  noPressure,
  PRESSURES,
  type PressureKind,
  type PressureLevel,
  type PressureSample,
  type PressureThresholds,
} from '../planner/resources/pressure.ts';
import type { Resources } from '../planner/state.ts';

/** The kernel makes a new average every two seconds. */
export const PRESSURE_SAMPLE_MS = 2000;

const NOT_THERE = 'not available: this kernel does not measure it (/proc/pressure)';

/** Percent of the last ten seconds in which something waited; undefined for a line that says nothing of it. */
export function parsePressure(text: string): number | undefined {
  const match = /^some .*?\bavg10=(\d+(?:\.\d+)?)/m.exec(text);
  return match === null ? undefined : Number(match[1]);
}

/** @param folder where the kernel's files are */
export function readPressure(folder = '/proc/pressure'): PressureSample {
  const read = (kind: PressureKind) => {
    try {
      return parsePressure(readFileSync(`${folder}/${kind}`, 'utf8'));
    } catch (error) {
      // No file: built without; EOPNOTSUPP: switched off when the kernel was started.
      if (isErrno(error)) return undefined;
      throw error;
    }
  };
  return { memory: read('memory'), cpu: read('cpu') };
}

/** The higher of what the whole machine and what the group of all workloads waits for memory; either may be unknown. */
export function withGroup(machine: PressureSample, group: number | undefined): PressureSample {
  const memory = machine.memory === undefined ? group : Math.max(machine.memory, group ?? 0);
  return { ...machine, memory };
}

/** Holds how far up the ladder both resources are. */
export class PressureLevels {
  readonly #thresholds: PressureThresholds;
  #sample: PressureSample = { memory: undefined, cpu: undefined };
  #levels: { readonly [K in PressureKind]: PressureLevel } = { memory: noPressure, cpu: noPressure };

  constructor(thresholds: PressureThresholds) {
    this.#thresholds = thresholds;
  }

  /**
   * @param shed how many workloads are shed for each resource now
   * @returns whether a level is another one than before
   */
  add(sample: PressureSample, shed: { readonly [K in PressureKind]: number }, nowMs: number): boolean {
    const before = this.#levels;
    this.#sample = sample;
    const next = (kind: PressureKind) =>
      nextLevel(before[kind], kind, sample[kind], this.#thresholds[kind], shed[kind], nowMs);
    this.#levels = { memory: next('memory'), cpu: next('cpu') };
    return PRESSURES.some((kind) => this.#levels[kind].level !== before[kind].level);
  }

  get levels(): Resources['pressure'] {
    return { memory: this.#levels.memory.level, cpu: this.#levels.cpu.level };
  }

  /** For people: "memory 0.0 %, cpu 12.3 % (workloads of lower priority are throttled)". */
  describe(): string {
    if (PRESSURES.every((kind) => this.#sample[kind] === undefined)) return NOT_THERE;
    return PRESSURES.map((kind) => {
      const percent = this.#sample[kind];
      const { level } = this.#levels[kind];
      const done =
        level === 0 ? '' : level === 1 ? ' (lower ones are throttled)' : ` (${level - 1} to be frozen or stopped)`;
      return `${kind} ${percent === undefined ? 'not available' : `${percent.toFixed(1)} %`}${done}`;
    }).join(', ');
  }
}
