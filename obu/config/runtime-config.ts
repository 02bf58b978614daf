/** The part of an OBU's configuration that is about its workloads as a whole. */
import { totalmem } from 'node:os';
import { z } from 'zod';
import { messageOf } from '../../shared/base/errors.ts';
import { parseSize } from '../../shared/text/size.ts';
import { type Condition, parseCondition } from '../../shared/vss/condition.ts';
import type { PressureThresholds } from '../planner/resources/pressure.ts';
import type { Claim } from '../planner/state.ts';

export interface RuntimeConfig {
  /** The capacity of the machine; parts that are not given are asked from the engine. */
  readonly capacity: Partial<Claim>;
  /** The part of it that is reserved for the OBU, its engine and the system. */
  readonly reserve: Claim;
  /** The claim of a workload that declares no limit. */
  readonly undeclared: Claim;
  /** Percent of time, see pressure.ts. */
  readonly pressure: PressureThresholds;
  /** Holds while the vehicle is parked. */
  readonly parked: Condition;
  /** Bytes: what a workload may keep in its /data that names no limit, and what of the disk is kept free. */
  readonly data: { readonly limit: number; readonly keepFree: number };
  /** Whether containers keep running when the OBU is stopped. */
  readonly onStop: 'stop' | 'keep';
}

const MIB = 2 ** 20;

const memory = z.union([z.string(), z.number()], 'must be a size such as 256m').transform((value, context): number => {
  const bytes = parseSize(value);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: 'custom', message: 'must be a size such as 256m, 1gb or a number of bytes' });
  return z.NEVER;
});
const cpus = z.number('must be a number of CPUs, such as 0.5').min(0, 'must be at least 0').max(1024, 'is too much');
const claim = z.strictObject(
  { memory: memory.optional(), cpus: cpus.optional() },
  'must be a map with `memory` and `cpus`',
);
const percent = z.number('must be percent, a number').gt(0, 'must be above 0').max(100, 'must be at most 100');
const pressure = z.strictObject(
  { memory: percent.optional(), cpu: percent.optional() },
  'must be a map with `memory` and `cpu`',
);
const data = z.strictObject(
  { limit: memory.optional(), keepFree: memory.optional() },
  'must be a map with `limit` and `keepFree`',
);
const condition = z.string('must be a condition such as "Vehicle.Speed == 0"').transform((text, context): Condition => {
  try {
    return parseCondition(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
    return z.NEVER;
  }
});

/** Keys for the configuration file. */
export const runtimeShape = {
  capacity: claim.optional(),
  reserve: claim.optional(),
  undeclared: claim.optional(),
  pressure: pressure.optional(),
  data: data.optional(),
  parked: condition.optional(),
  onStop: z.enum(['stop', 'keep'], 'must be stop or keep').optional(),
};

const shape = z.object(runtimeShape);

/** Keys of the maps among them, by the key that they are under. */
export const runtimeKeys: Readonly<Record<string, readonly string[]>> = {
  capacity: Object.keys(claim.shape),
  reserve: Object.keys(claim.shape),
  undeclared: Object.keys(claim.shape),
  pressure: Object.keys(pressure.shape),
  data: Object.keys(data.shape),
};

export function runtimeConfigOf(raw: z.infer<typeof shape>): RuntimeConfig {
  return {
    capacity: raw.capacity ?? {},
    reserve: { memory: raw.reserve?.memory ?? defaultReserve(totalmem()), cpus: raw.reserve?.cpus ?? 0.25 },
    undeclared: { memory: raw.undeclared?.memory ?? 64 * MIB, cpus: raw.undeclared?.cpus ?? 0.1 },
    pressure: { memory: raw.pressure?.memory ?? 20, cpu: raw.pressure?.cpu ?? 90 },
    data: { limit: raw.data?.limit ?? 1024 * MIB, keepFree: raw.data?.keepFree ?? 256 * MIB },
    parked: raw.parked ?? parseCondition('Vehicle.Speed == 0'),
    onStop: raw.onStop ?? 'stop',
  };
}

/** A quarter of a small board, and never more than 256 MiB: the OBU, dockerd and containerd need less. */
function defaultReserve(total: number): number {
  return Math.min(256 * MIB, Math.floor(total / 4));
}
