/**
 * Which frames a container with a CAN interface may not send, as filters of a raw socket, and how many frames the kernel
 * has counted for each of these filters. Pure values.
 */
import { CAN_EFF_FLAG, CAN_RTR_FLAG } from '../../shared/can/frame.ts';
import type { DenialReason } from '../can/write-guard.ts';
import { ALL, type IdCube, without } from '../grants/interface-rules.ts';

/** The kernel's limit of one socket (CAN_RAW_FILTER_MAX). */
export const MAX_FILTERS = 512;

/** Frames that no rule lets out, and why. */
export interface DeniedCube extends IdCube {
  readonly reason: DenialReason;
}

/**
 * All frames but those that may be written, as cubes that have nothing in common, so that each frame is counted once.
 * @param write Data frames only, as `writeCubes` gives them.
 */
export function deniedCubes(write: readonly IdCube[]): DeniedCube[] {
  // As for a workload that writes over its socket: nothing is granted, whatever it sends.
  if (write.length === 0) return [{ ...ALL, reason: 'grant' }];
  const remote: DeniedCube = { id: CAN_RTR_FLAG, mask: CAN_RTR_FLAG, reason: 'kind' };
  let data: IdCube[] = [{ id: 0, mask: CAN_RTR_FLAG }];
  for (const cube of write) data = data.flatMap((part) => without(part, cube));
  return [remote, ...data.map((cube) => ({ ...cube, reason: 'id' as const }))];
}

/** Counts of frames by interface and filter, from the texts of /proc/net/can/rcvlist_*. */
export type ReceiveCounts = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** The key of the filter that every raw socket has for error frames. */
export const ERROR_KEY = 'error';

/**
 * @param lists Of data and remote frames: `all`, `fil`, `inv`, `sff`, `eff`.
 * @param errors Of error frames: `err`.
 * @returns for each interface the counts by `filterKey`, and those of error frames by ERROR_KEY
 */
export function parseReceiveLists(lists: readonly string[], errors: string): ReceiveCounts {
  const counts = new Map<string, Map<string, number>>();
  const add = (text: string, keyOf: (id: string, mask: string) => string) => {
    for (const line of text.split('\n')) {
      // device can_id can_mask function userdata matches ident; a standard id has three digits
      const [device = '', id = '', mask = '', , , matches = '', ident] = line.trim().split(/\s+/);
      if (ident !== 'raw' || !/^[0-9a-f]{3,8}$/.test(id) || !/^\d+$/.test(matches)) continue;
      const known = counts.get(device) ?? new Map<string, number>();
      counts.set(device, known);
      // Somebody may listen there with the same filter, later than we; what came later has counted less.
      known.set(keyOf(id, mask), Math.max(known.get(keyOf(id, mask)) ?? 0, Number(matches)));
    }
  };
  for (const text of lists) add(text, (id, mask) => `${id.padStart(8, '0')}:${mask}`);
  add(errors, () => ERROR_KEY);
  return counts;
}

/** How the kernel lists a filter: what the mask leaves out is 0, and a standard id has no more than 11 bits. */
export function filterKey({ id, mask }: IdCube): string {
  const standardOnly = (mask & CAN_EFF_FLAG) !== 0 && (id & CAN_EFF_FLAG) === 0;
  const used = (standardOnly ? mask & (0x7ff | CAN_EFF_FLAG | CAN_RTR_FLAG) : mask) >>> 0;
  return `${hex((id & used) >>> 0)}:${hex(used)}`;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
