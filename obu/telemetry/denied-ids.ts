import type { DeniedIds } from '../../shared/api/obu.ts';

/** Ids of one workload on one bus that are told apart. */
const MAX_IDS = 32;

/** Which CAN frames containers with a CAN interface were not allowed to send; it survives their containers. */
export class DeniedIdLog {
  readonly #workloads = new Map<string, Map<string, Map<string, number>>>();

  /** @param id Its text, such as 3EA or 123#R. */
  add(workload: string, bus: string, id: string): void {
    const buses = this.#workloads.get(workload) ?? new Map<string, Map<string, number>>();
    this.#workloads.set(workload, buses);
    const ids = buses.get(bus) ?? new Map<string, number>();
    buses.set(bus, ids);
    const key = ids.has(id) || ids.size < MAX_IDS ? id : 'others';
    ids.set(key, (ids.get(key) ?? 0) + 1);
  }

  /** The most frequent first. */
  of(workload: string): DeniedIds[] {
    return [...(this.#workloads.get(workload) ?? [])].flatMap(([bus, ids]) =>
      [...ids].map(([id, frames]) => ({ bus, id, frames })).toSorted((a, b) => b.frames - a.frames),
    );
  }
}
