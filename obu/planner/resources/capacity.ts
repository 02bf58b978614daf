/** Arithmetic on claims: memory and CPUs by the declared limits of workloads. */
import type { Claim, ObservedContainer, Resources } from '../state.ts';

export const NOTHING: Claim = { memory: 0, cpus: 0 };

/** CPUs are fractions: sums of them are off by less than this. */
const CPU_GRAIN = 1e-6;

export const plus = (a: Claim, b: Claim): Claim => ({ memory: a.memory + b.memory, cpus: a.cpus + b.cpus });
export const minus = (a: Claim, b: Claim): Claim => ({ memory: a.memory - b.memory, cpus: a.cpus - b.cpus });
export const sumOf = (claims: readonly Claim[]): Claim => claims.reduce(plus, NOTHING);

/** The capacity for workloads. */
export function capacityOf({ total, reserve }: Pick<Resources, 'total' | 'reserve'>): Claim {
  return { memory: Math.max(0, total.memory - reserve.memory), cpus: Math.max(0, total.cpus - reserve.cpus) };
}

/** The part of `need` that `free` does not cover, at least 0. A resource that is not needed is never short. */
export function shortOf(need: Claim, free: Claim): Claim {
  return {
    memory: need.memory <= 0 ? 0 : Math.max(0, need.memory - free.memory),
    cpus: need.cpus <= 0 || need.cpus <= free.cpus + CPU_GRAIN ? 0 : need.cpus - free.cpus,
  };
}

export function isNothing({ memory, cpus }: Claim): boolean {
  return memory <= 0 && cpus <= CPU_GRAIN;
}

export function fits(need: Claim, free: Claim): boolean {
  return isNothing(shortOf(need, free));
}

/** The claim of a running workload. */
export function claimOf(
  limits: { readonly memLimit: number | undefined; readonly cpus: number | undefined },
  undeclared: Claim,
): Claim {
  return { memory: limits.memLimit ?? undeclared.memory, cpus: limits.cpus ?? undeclared.cpus };
}

/** The least that the Docker Engine takes as a limit of memory. */
const LEAST_MEMORY = 6 * 2 ** 20;

/**
 * Bytes that a workload may use which declares no limit: what all others leave, and never less than it counts as. More
 * than that would be somebody else's.
 */
export function memoryLeftFor(
  workload: { readonly name: string; readonly memReservation: number | undefined },
  all: readonly { readonly name: string; readonly memLimit: number | undefined }[],
  resources: Omit<Resources, 'pressure'>,
): number {
  const { undeclared } = resources;
  const others = all.filter(({ name }) => name !== workload.name);
  const taken = others.reduce((sum, { memLimit }) => sum + (memLimit ?? undeclared.memory), 0);
  const left = capacityOf(resources).memory - taken;
  return Math.max(left, undeclared.memory, workload.memReservation ?? 0, LEAST_MEMORY);
}

/** The claim of a container now. A frozen one keeps its memory and needs no CPU. */
export function heldBy(container: ObservedContainer, undeclared: Claim): Claim {
  const claim = claimOf(container, undeclared);
  switch (container.state) {
    case 'running':
    case 'restarting':
    case 'removing':
      return claim;
    case 'paused':
      return { memory: claim.memory, cpus: 0 };
    case 'created':
    case 'exited':
    case 'dead':
      return NOTHING;
  }
}

/** "256 MiB and 0.5 CPUs". */
export function sentence({ memory, cpus }: Claim): string {
  return `${mebibytes(memory)} and ${cpuCount(cpus)}`;
}

/** Only the parts that there is something of: "0.5 CPUs". */
export function sentenceOfParts({ memory, cpus }: Claim): string {
  const parts = [...(memory > 0 ? [mebibytes(memory)] : []), ...(cpus > CPU_GRAIN ? [cpuCount(cpus)] : [])];
  return parts.join(' and ') || 'nothing';
}

export function mebibytes(bytes: number): string {
  return `${Math.round((bytes / 2 ** 20) * 10) / 10} MiB`;
}

function cpuCount(cpus: number): string {
  const rounded = Math.round(cpus * 1000) / 1000;
  return `${rounded} CPU${rounded === 1 ? '' : 's'}`;
}
