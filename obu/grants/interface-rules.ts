/**
 * The rules by which the kernel's can-gw forwards between a bus and the CAN interfaces of containers (`as: interface`),
 * as pure values.
 *
 * can-gw forwards a frame once for each rule that it matches, so rules that overlap would double frames. Filters are
 * therefore turned into sets of ids that have nothing in common: an id:mask pair is a cube (some bits fixed, the others
 * free), an inverted one is what is left of all ids without it, and a cube without another one is a few smaller cubes.
 */
import type { CanFilter } from '../../shared/can/filter.ts';
import { CAN_EFF_FLAG, CAN_ERR_FLAG, CAN_RTR_FLAG, formatCanId } from '../../shared/can/frame.ts';
import type { CanGrant } from '../manifest/workload.ts';

/** Ids (with Linux' flags for 29-bit and remote frames) that agree with `id` in the bits of `mask`. */
export interface IdCube {
  readonly id: number;
  readonly mask: number;
}

/** `cangw -A -s from -d to -f id:mask`, with `-e` for `echo`, and for CAN FD frames with `-X`. */
export interface GatewayRule {
  readonly from: string;
  readonly to: string;
  readonly fd: boolean;
  /**
   * True when programs on the destination's own host see the frame as well: on a bus they do; on the host's end of a
   * container's pair nothing is to be seen but what the container sends.
   */
  readonly echo: boolean;
  readonly cube: IdCube;
}

/** One container's end of a bus. */
export interface ContainerLink {
  /** The interface of the bus, `can0`. */
  readonly device: string;
  /** The interface on the host whose other end is in the container. */
  readonly host: string;
  /** True when the bus carries CAN FD. */
  readonly fd: boolean;
  readonly read: readonly IdCube[];
  readonly write: readonly IdCube[];
}

/** The kernel tries every rule of an interface on every frame. */
export const MAX_CUBES = 128;

/** Bits above the 11 of a standard id. */
const EXTENDED_BITS = 0x1ffff800;
export const ALL: IdCube = { id: 0, mask: 0 };

/** Why a grant cannot be an interface, as a sentence; undefined when it can. For the check of a manifest. */
export function interfaceGrantProblem(grant: CanGrant): string | undefined {
  const instead = 'use `as: socket`, which can';
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(grant.bus) || ['.', '..', 'lo'].includes(grant.bus)) {
    return `"${grant.bus}" cannot be the name of an interface in a container; use \`as: socket\``;
  }
  if (grant.when !== undefined) return `the kernel cannot hold writing to a condition (\`when\`); ${instead}`;
  for (const { id, ext, length, maxPerSecond } of grant.write) {
    const name = formatCanId(id, ext);
    if (maxPerSecond !== undefined) return `the kernel cannot hold id ${name} to a rate; ${instead}`;
    if (length !== undefined) return `the kernel cannot hold id ${name} to a length; ${instead}`;
  }
  if (grant.read.some(({ kind }) => kind === 'error')) {
    return `the kernel does not forward error frames (#MASK); ${instead}`;
  }
  if (readCubes(grant.read).length > MAX_CUBES || writeCubes(grant).length > MAX_CUBES) {
    return `its filters come to more than ${MAX_CUBES} rules of the kernel; use fewer, or \`as: socket\``;
  }
  return undefined;
}

/** The ids that any of these filters passes, as cubes that have nothing in common. */
export function readCubes(filters: readonly CanFilter[]): IdCube[] {
  const cubes = filters.flatMap((filter) => {
    if (filter.kind === 'error') return [];
    const cube = { id: (filter.id & filter.mask) >>> 0, mask: filter.mask };
    return filter.invert ? without(ALL, cube) : [cube];
  });
  return disjoint(cubes);
}

/** Standard or extended data frames of exactly these ids. */
export function writeCubes({ write }: CanGrant): IdCube[] {
  const cubes = write.map(({ id, ext }) =>
    ext
      ? { id: (id | CAN_EFF_FLAG) >>> 0, mask: ~CAN_ERR_FLAG >>> 0 }
      : { id, mask: (CAN_EFF_FLAG | CAN_RTR_FLAG | 0x7ff) >>> 0 },
  );
  return disjoint(cubes);
}

/**
 * Everything that has to be forwarded for these links. Containers on one bus reach each other directly, because can-gw
 * forwards no frame twice: what came out of one container would end on the bus.
 */
export function rulesOf(links: readonly ContainerLink[]): GatewayRule[] {
  return links.flatMap((link) => [
    ...rules({ from: link.device, to: link.host, echo: false }, link.fd, link.read),
    ...rules({ from: link.host, to: link.device, echo: true }, link.fd, link.write),
    ...links
      .filter((other) => other !== link && other.device === link.device)
      .flatMap((other) =>
        rules({ from: link.host, to: other.host, echo: false }, link.fd, common(link.write, other.read)),
      ),
  ]);
}

function rules(way: Pick<GatewayRule, 'from' | 'to' | 'echo'>, fd: boolean, cubes: readonly IdCube[]): GatewayRule[] {
  return cubes.flatMap((cube) => (fd ? [false, true] : [false]).map((isFd) => ({ ...way, fd: isFd, cube })));
}

/** The intersection; disjoint when both are. */
function common(some: readonly IdCube[], others: readonly IdCube[]): IdCube[] {
  return some.flatMap((a) =>
    others
      .filter((b) => meet(a, b))
      .map((b) => ({ id: (a.id | b.id) >>> 0, mask: (a.mask | b.mask) >>> 0 }))
      .filter(isPossible),
  );
}

function disjoint(cubes: readonly IdCube[]): IdCube[] {
  // Large ones first: a small one is more often a part of a large one than the other way round.
  const ordered = cubes.filter(isPossible).toSorted((a, b) => bitsOf(a.mask).length - bitsOf(b.mask).length);
  const result: IdCube[] = [];
  for (const cube of ordered) {
    let parts = [cube];
    for (const known of [...result]) parts = parts.flatMap((part) => without(part, known));
    result.push(...parts);
    if (result.length > MAX_CUBES) break; // it is refused anyway
  }
  return result;
}

function meet(a: IdCube, b: IdCube): boolean {
  return ((a.id ^ b.id) & a.mask & b.mask) === 0;
}

/** The difference of `a` and `b`: for each bit that only `b` fixes, the part of `a` where it is the first to differ. */
export function without(a: IdCube, b: IdCube): IdCube[] {
  if (!meet(a, b)) return [a];
  const parts: IdCube[] = [];
  let { id, mask } = a;
  for (const bit of bitsOf(b.mask & ~a.mask)) {
    mask = (mask | bit) >>> 0;
    parts.push({ id: (id | (~b.id & bit)) >>> 0, mask });
    id = (id | (b.id & bit)) >>> 0;
  }
  return parts.filter(isPossible);
}

/** A standard id has no bits above its 11. */
function isPossible({ id, mask }: IdCube): boolean {
  return !((mask & CAN_EFF_FLAG) !== 0 && (id & CAN_EFF_FLAG) === 0 && (id & mask & EXTENDED_BITS) !== 0);
}

/** The bits that are set, the highest first, each as a number of its own. */
function bitsOf(mask: number): number[] {
  const bits: number[] = [];
  for (let i = 31; i >= 0; i--) if ((mask & (1 << i)) !== 0) bits.push((1 << i) >>> 0);
  return bits;
}
