/**
 * Pressure that declared limits did not promise, as the kernel measures it (PSI): first what is less important gets the
 * least weight; when that does not help it is frozen or stopped, one after the other; all is given back one by one.
 */

import type { Intent } from '../intent.ts';
import type { Preempted, Resources } from '../state.ts';
import type { Candidate } from './room.ts';

export type PressureKind = 'memory' | 'cpu';
export const PRESSURES: readonly PressureKind[] = ['memory', 'cpu'];

/** One sample of the kernel: percent of the last ten seconds in which something waited (`some avg10`). */
export type PressureSample = { readonly [K in PressureKind]: number | undefined };

/** From this many percent on it is pressure, for one resource. */
export type PressureThresholds = { readonly [K in PressureKind]: number };

/** Between one level and the next there is as much time as the average looks back on, so that the last one shows. */
export const STEP_MS: { readonly [K in PressureKind]: number } = { memory: 10_000, cpu: 30_000 };
/** Below half the threshold for this long, one level is given back. */
export const CALM_MS = 30_000;

/** How far up the ladder one resource is. 0: no pressure; 1: throttled; above: level - 1 workloads are shed. */
export interface PressureLevel {
  readonly level: number;
  readonly changedMs: number;
  /** Since when it has been calm. */
  readonly calmMs: number | undefined;
}

/**
 * CPUs: who uses less than this is not where pressure on the CPU comes from, and gains nobody anything by going. A
 * shell that sleeps 0.3 s in a loop uses 0.024 of a CPU on a busy machine.
 */
export const NOTICEABLE_CPUS = 0.05;

export const noPressure: PressureLevel = { level: 0, changedMs: Number.NEGATIVE_INFINITY, calmMs: undefined };

/**
 * One measurement later.
 * @param shed how many are shed for this resource: nothing is gained by climbing where nobody is left to be shed
 */
export function nextLevel(
  before: PressureLevel,
  kind: PressureKind,
  percent: number | undefined,
  threshold: number,
  shed: number,
  nowMs: number,
): PressureLevel {
  if (percent === undefined) return noPressure;
  const elapsedMs = nowMs - before.changedMs;
  if (percent >= threshold) {
    const mayRaise = elapsedMs >= STEP_MS[kind] && shed >= shedAt(before.level);
    return mayRaise
      ? { level: before.level + 1, changedMs: nowMs, calmMs: undefined }
      : { ...before, calmMs: undefined };
  }
  if (before.level === 0 || percent > threshold / 2) return { ...before, calmMs: undefined };
  const calmMs = before.calmMs ?? nowMs;
  if (nowMs - calmMs < CALM_MS) return { ...before, calmMs };
  return { level: before.level - 1, changedMs: nowMs, calmMs: nowMs };
}

/** How many workloads are shed at this level. */
export function shedAt(level: number): number {
  return Math.max(0, level - 1);
}

/** Of those that were shed under pressure, the ones that stay so: the lowest priorities, as many as the level says. */
export function stillPressed(intents: readonly Intent[], resources: Resources): ReadonlySet<string> {
  const stay = PRESSURES.flatMap((kind) => {
    const cause: Preempted['cause'] = `${kind}-pressure`;
    const shed = intents.filter(
      ({ record: memory, request: wish }) => wish !== undefined && memory.preempted?.cause === cause,
    );
    const names = shed.map(({ desired }) => desired.workload.name);
    const count = shedAt(resources.pressure[kind]);
    return count === 0 ? [] : names.slice(-count);
  });
  return new Set(stay);
}

/**
 * Whom to shed next. Only what is less important than something else that runs; first what declares no limit for the
 * resource, because limits that are declared fit together. For the CPU nothing else comes into question: who is held by
 * its limit is not where the pressure comes from. Nor is who uses next to nothing: then it comes from elsewhere.
 */
export function pressureVictims(
  kind: PressureKind,
  candidates: readonly (Candidate & { readonly declared: boolean; readonly usesCpu: boolean })[],
  count: number,
  highest: number,
): readonly Candidate[] {
  if (count <= 0) return [];
  return candidates
    .filter(({ priority, frees, declared, usesCpu }) => {
      const helps = kind === 'memory' ? frees.memory > 0 : frees.cpus > 0 && !declared && usesCpu;
      return priority < highest && helps;
    })
    .sort((a, b) => Number(a.declared) - Number(b.declared) || a.priority - b.priority || (a.name < b.name ? -1 : 1))
    .slice(0, count);
}

/** The highest priority of what runs; below 0 when nothing does. */
export function highestRunning(intents: readonly Intent[]): number {
  const running = intents.filter(({ holds }) => holds.some(({ state }) => state === 'running'));
  return Math.max(-1, ...running.map(({ desired }) => desired.workload.priority));
}

/** True when it gets the least weight: it may be preempted, and something of higher priority runs. */
export function isThrottled({ desired }: Intent, highest: number, { pressure }: Resources): boolean {
  const { preemption, priority } = desired.workload;
  return (pressure.memory > 0 || pressure.cpu > 0) && preemption !== 'never' && priority < highest;
}
