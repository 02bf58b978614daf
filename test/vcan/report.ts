import { rounds } from '../support/rounds.ts';

/** What inside/bus.ts found out in the machine with vcan, for bus-checks.ts to judge. */
export interface VcanReport {
  readonly chosen: { readonly kind: string; readonly reason: string };
  /** Frames that our bus sent, as candump logged them. */
  readonly outward: readonly string[];
  /** Frames that cansend sent, as our bus received them. */
  readonly inward: readonly string[];
  /** Times of those frames are within this many seconds of the machine's clock. */
  readonly inwardAge: number;
  /** Did our bus receive its own frames? */
  readonly ownFramesReceived: number;
  /** For each filter what the kernel let through, by candump, and what our matcher did. */
  readonly filters: readonly {
    readonly filter: string;
    readonly kernel: readonly string[];
    readonly ours: readonly string[];
  }[];
  readonly simulator: {
    readonly says: string;
    /** candump log lines of some seconds. */
    readonly log: readonly string[];
    /** VSS paths with a value after that. */
    readonly paths: readonly string[];
    readonly allPaths: number;
  };
  /** States of our bus while `controllerFrames` came, and those frames as it got them. */
  readonly controller: {
    readonly states: readonly string[];
    readonly seen: readonly string[];
    readonly errorFrames: number;
  };
  /** States of our bus while the interface went down, up, away and came back, and a frame after all of it. */
  readonly states: readonly string[];
  readonly sendWhileDown: string;
  readonly afterReturn: readonly string[];
  readonly noInterface: string;
  readonly notCan: string;
  readonly noFd: { readonly message: string; readonly noFd: unknown };
}

/** Frames that cangen sent, that our bus received, and that it says the kernel dropped. */
export interface Counts {
  readonly sent: number;
  readonly received: number;
  readonly dropped: number;
}

/** A second of steady traffic, fifteen in the long form. */
export const STEADY_FRAMES = rounds(730, 10_950);

/** What inside/losses.ts found out. */
export interface LossReport {
  /** A burst that this program slept through, on a bus that is silent afterwards. */
  readonly burst: Counts;
  /** Traffic of which it slept through a part; only in the long form. */
  readonly busy?: Counts;
  /** Steady traffic that all arrives. */
  readonly steady: Counts;
}

/** What inside/engine.ts found out. Frames are texts as `formatFrame` writes them. */
export interface EngineReport {
  /** Why a workload could not start without the kernel's vxcan, and without its can-gw; undefined where both are always there. */
  readonly missing: readonly string[] | undefined;
  readonly inside: { readonly user: string; readonly capabilities: string; readonly interfaces: readonly string[] };
  readonly exchange: Exchange;
  /** The OBU was killed and another one took over; how often the program in the container had started by then. */
  readonly startsAfterAdoption: number;
  readonly adopted: Exchange;
  /** After the bus was removed and made again. */
  readonly returned: Exchange;
  /** After the container was killed. */
  readonly restarted: Exchange;
  readonly whileRunning: number;
  readonly left: { readonly interfaces: readonly string[]; readonly rules: number };
  readonly unprivileged: string;
}

/** What inside/namespaces.ts found out. */
export interface NamespacesReport {
  /** As above; undefined also where an engine before it has been given both. */
  readonly missing: readonly string[] | undefined;
  /** Interfaces that were left of those attempts. */
  readonly afterMissing: readonly string[];
  readonly exchange: Exchange;
  /** After the bus was removed and made again; only in the long form. */
  readonly returned?: Exchange;
  readonly whileRunning: number;
  readonly left: { readonly interfaces: readonly string[]; readonly rules: number };
  /** After each change of a manifest: whether the container has the interface, and the rules of the kernel. */
  readonly regrants: {
    readonly steps: readonly { readonly inside: boolean; readonly rules: readonly string[] }[];
    readonly troubles: readonly string[];
  };
}

/** What inside/denied.ts found out. */
export interface DeniedReport {
  /** So many frames were sent without a pause. */
  readonly flood: number;
  /** After each step, of which the short form does three, all that was denied so far: by reason, and by id as far as it was read. */
  readonly steps: readonly {
    readonly counts: Readonly<Record<string, number>>;
    readonly ids: readonly { readonly bus: string; readonly id: string; readonly frames: number }[];
  }[];
  /** Code, bus, id and reason. */
  readonly faults: readonly string[];
  /** What reached the bus, from wherever. */
  readonly arrived: readonly string[];
  /** Interfaces that are still there. */
  readonly left: readonly string[];
}

/** What the candumps of the workloads `some` and `all`, and one on the host, have seen of the same frames. */
export interface Exchange {
  readonly some: readonly string[];
  readonly all: readonly string[];
  readonly host: readonly string[];
}

/** Sent from either side: standard, extended, remote and FD, shortest and longest. */
export const frames: readonly string[] = [
  '123#',
  '7FF#11',
  '166#D0320009',
  '000#0011223344556677',
  '00000123#AA',
  '1FFFFFFF#1122334455667788',
  '123#R',
  '123#R8',
  '18DAF110#R5',
  '3F0##0000102030405060708090A0B',
  `18DAF110##1${'5A'.repeat(64)}`,
];

/** Of at most 8 bytes: the package does not tell on receive that they were FD. */
export const shortFdFrames: readonly string[] = ['124##0', '124##1AABB', '1ABCDEF0##01122334455667788'];

/** Warning, error passive, bus-off, and a frame of another program. */
export const controllerFrames: readonly string[] = [
  '20000004#0008000000006000',
  '20000004#0020000000008800',
  '20000040#0000000000000000',
  '123#11',
];

export const filterFrames: readonly string[] = [
  '100#00',
  '123#00',
  '1FF#00',
  '200#00',
  '7FF#00',
  '123#R',
  '00000123#00',
  '18000123#00',
  '18DAF110#00',
  '18DAF1F1#00',
  '18DAF110#R1',
  '3F0##0000102030405060708090A0B',
];

export const filters: readonly string[] = [
  '0:0',
  '0~0',
  '123:7FF',
  '123:C00007FF',
  '123~7FF',
  '100:700',
  '100~700',
  '00000123:DFFFFFFF',
  '98DAF110:DFFFFFFF',
  '18DAF110:1FFFFF00',
  '18DAF100:9FFFFF00',
  '18DAF110~DFFFFFFF',
  '3F0:C00007FF',
];
