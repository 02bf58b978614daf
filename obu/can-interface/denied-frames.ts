/**
 * Finds CAN frames that containers with a CAN interface (`as: interface`) were not allowed to send: can-gw drops it
 * without a word to the sender. Raw sockets on the host's ends of the pairs see it, whose filters pass exactly the
 * frames that no rule lets out, so what is granted costs nothing here.
 *
 * - How many: the kernel counts the frames of each filter, also those that do not fit into the socket's buffer. One
 *   socket that nobody reads exists for these counts alone; they are looked at each second and before a pair is
 * removed.
 *   So the number is exact, and a container that floods its interface costs this program nothing.
 * - Which ids: a second socket is read from the first denied frame on, up to MAX_SAMPLES frames between two looks.
 *
 * Counts go with the pair, and the pair with the container's namespace: whoever removes it says so with `unwatch`
 * before.
 */
import { readFileSync } from 'node:fs';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { type CanFrame, formatCanId } from '../../shared/can/frame.ts';
import {
  keepUntilClosed,
  openRawChannel,
  type RawChannel,
  type RawFilter,
  toFrame,
} from '../../shared/can/socketcan-package.ts';
import type { DenialReason } from '../can/write-guard.ts';
import type { IdCube } from '../grants/interface-rules.ts';
import type { Report } from '../telemetry/report.ts';
import {
  type DeniedCube,
  deniedCubes,
  ERROR_KEY,
  filterKey,
  MAX_FILTERS,
  parseReceiveLists,
  type ReceiveCounts,
} from './denied-filters.ts';

const LOOK_MS = 1000;
/** Frames that are read between two looks, to name their ids. */
const MAX_SAMPLES = 500;
/** Different frames that are reported as errors between two looks. */
const MAX_REPORTS = 4;
/** All classes of errors. */
const CAN_ERR_MASK = 0x1fffffff;
/** Nothing passes. */
const CLOSED: RawFilter = { id: 0, mask: 0, invert: true };

/** The ids that a workload may send through the host's end of a pair. */
export interface WatchedLink {
  readonly workload: string;
  /** As the grant names it. */
  readonly bus: string;
  /** The interface. */
  readonly host: string;
  readonly write: readonly IdCube[];
}

export interface DeniedFramesParts {
  readonly report: Report;
  readonly log: Logger;
  /** For tests. */
  readonly open?: (name: string) => RawChannel;
  readonly readCounts?: () => ReceiveCounts;
}

interface Watched {
  link: WatchedLink;
  cubes: readonly DeniedCube[];
  /** Sockets that nobody reads. */
  readonly counters: RawChannel[];
  /** Read once `sampling`. */
  readonly samplers: RawChannel[];
  sampling: boolean;
  samples: number;
  readonly reported: Set<string>;
  /** The kernel's counts of before, by key. */
  readonly known: Map<string, number>;
}

export class DeniedFrames {
  readonly #parts: DeniedFramesParts;
  readonly #open: (name: string) => RawChannel;
  readonly #readCounts: () => ReceiveCounts;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: DeniedFramesParts) {
    this.#parts = parts;
    this.#open = parts.open ?? openRawChannel;
    this.#readCounts = parts.readCounts ?? readCounts;
  }

  /** @param beforeLook Called before each look; what it returns is called after it. */
  start(beforeLook: () => () => void = () => () => {}): void {
    this.#timer = setInterval(() => {
      const after = beforeLook();
      this.look();
      after();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Looks for the last time. */
  stop(): void {
    clearInterval(this.#timer);
    this.look();
    for (const watched of this.#watched.values()) {
      this.#watched.delete(watched.link.host);
      if (!watched.sampling) continue;
      for (const channel of watched.samplers) {
        stopChannel(channel);
        keepUntilClosed(channel);
      }
    }
  }

  /** Counts from now on by this grant. Its interface has to be there; nothing happens when it is not. */
  watch(link: WatchedLink): void {
    const known = this.#watched.get(link.host);
    if (known !== undefined && JSON.stringify(known.link.write) === JSON.stringify(link.write)) return;
    if (known !== undefined) this.#lookAt(known, this.#readCounts());
    try {
      if (known === undefined) this.#begin(link);
      else this.#follow(known, link);
    } catch (error) {
      const message = messageOf(error).split('\n')[0];
      this.#parts.log.warn(
        { bus: link.bus, workload: link.workload, err: message },
        'cannot count denied CAN frames of a container',
      );
    }
  }

  /** The interface is about to be removed. */
  unwatch(host: string): void {
    const watched = this.#watched.get(host);
    if (watched === undefined) return;
    this.#lookAt(watched, this.#readCounts());
    // Its sockets end when the interface does.
    this.#watched.delete(host);
  }

  /** Reports what was denied since the last look. */
  look(): void {
    if (this.#watched.size === 0) return;
    const counts = this.#readCounts();
    for (const watched of this.#watched.values()) this.#lookAt(watched, counts);
  }

  #begin(link: WatchedLink): void {
    const cubes = deniedCubes(link.write);
    const sockets = Math.ceil(cubes.length / MAX_FILTERS);
    const channels = () => Array.from({ length: sockets }, () => this.#open(link.host));
    const watched: Watched = {
      link,
      cubes,
      sampling: false,
      samples: 0,
      counters: channels(),
      samplers: channels(),
      reported: new Set(),
      known: new Map(),
    };
    setFilters(watched.counters, watched.cubes);
    setFilters(watched.samplers, watched.cubes);
    for (const channel of watched.samplers) {
      channel.addListener('onMessage', (message) => this.#sample(watched, toFrame(message)));
    }
    this.#watched.set(link.host, watched);
  }

  #follow(watched: Watched, link: WatchedLink): void {
    watched.link = link;
    watched.cubes = deniedCubes(link.write);
    const missing = Math.ceil(watched.cubes.length / MAX_FILTERS) - watched.counters.length;
    for (let i = 0; i < missing; i++) {
      watched.counters.push(this.#open(link.host));
      const sampler = this.#open(link.host);
      sampler.addListener('onMessage', (message) => this.#sample(watched, toFrame(message)));
      if (watched.sampling) sampler.start();
      watched.samplers.push(sampler);
    }
    setFilters(watched.counters, watched.cubes);
    setFilters(watched.samplers, watched.cubes);
    // Filters that are set anew begin to count at 0.
    watched.known.clear();
  }

  #lookAt(watched: Watched, counts: ReceiveCounts): void {
    const { link, cubes, known, samplers } = watched;
    const now = counts.get(link.host);
    if (now === undefined) return;
    const more = new Map<DenialReason, number>();
    const reasons: (readonly [string, DenialReason])[] = cubes.map((cube) => [filterKey(cube), cube.reason]);
    for (const [key, reason] of [...reasons, [ERROR_KEY, 'kind'] as const]) {
      const count = now.get(key) ?? 0;
      const denied = Math.max(0, count - (known.get(key) ?? 0));
      known.set(key, count);
      if (denied > 0) more.set(reason, (more.get(reason) ?? 0) + denied);
    }
    for (const [reason, frames] of more) {
      this.#parts.report({ event: 'can-denied', workload: link.workload, reason, frames });
    }
    if (watched.samples >= MAX_SAMPLES) {
      setFilters(samplers, cubes);
    }
    watched.samples = 0;
    watched.reported.clear();
    if (more.size === 0 || watched.sampling) return;
    watched.sampling = true;
    for (const channel of samplers) channel.start();
  }

  #sample(watched: Watched, frame: CanFrame): void {
    const { link, samplers, reported } = watched;
    // Of a flood, and of the moment before the socket had its filters.
    const reason = reasonOf(frame, watched.cubes);
    if (watched.samples >= MAX_SAMPLES || reason === undefined) return;
    watched.samples++;
    if (watched.samples === MAX_SAMPLES) close(samplers);
    const { workload, bus } = link;
    const text = `${formatCanId(frame.id, frame.ext)}${frame.rtr ? '#R' : ''}${frame.err ? ' (error frame)' : ''}`;
    this.#parts.report({ event: 'can-denied-id', workload, bus, id: text });
    if (reported.has(text) || reported.size >= MAX_REPORTS) return;
    reported.add(text);
    this.#parts.report({ event: 'workload-fault', workload, error: faultOf(link, frame, reason) });
  }
}

/** As WriteGuard says it of a frame that came over the socket. */
function faultOf({ workload, bus }: WatchedLink, frame: CanFrame, reason: DenialReason): KerbError {
  const id = formatCanId(frame.id, frame.ext);
  const isData = !frame.rtr && !frame.err;
  const why = isData
    ? `its manifest would need x-obu.grants.can: [{ bus: ${bus}, write: [{ id: "${id}" }] }]`
    : `${frame.rtr ? 'remote' : 'error'} frames are never passed on`;
  const message = `workload ${workload} may not send CAN frame ${id} to "${bus}" from its CAN interface: ${why}`;
  return new KerbError(ErrorCode.CanWriteNotGranted, message, { workload, bus, id, reason });
}

/** Undefined when it is one that may be sent. */
function reasonOf(frame: CanFrame, cubes: readonly DeniedCube[]): DenialReason | undefined {
  if (frame.err) return 'kind';
  const id = ((frame.ext ? 0x80000000 : 0) | (frame.rtr ? 0x40000000 : 0) | frame.id) >>> 0;
  return cubes.find((cube) => ((id ^ cube.id) & cube.mask) === 0)?.reason;
}

function setFilters(channels: readonly RawChannel[], cubes: readonly DeniedCube[]): void {
  for (const [i, channel] of channels.entries()) {
    channel.setRxFilters(filtersOf(cubes, i));
    channel.setErrorFilters(CAN_ERR_MASK);
  }
}

function close(channels: readonly RawChannel[]): void {
  for (const channel of channels) {
    channel.setRxFilters(CLOSED);
    channel.setErrorFilters(0);
  }
}

/** The filters of the socket with this number. */
function filtersOf(cubes: readonly DeniedCube[], socket: number): RawFilter[] {
  const own = cubes.slice(socket * MAX_FILTERS, (socket + 1) * MAX_FILTERS);
  // One that has none would pass everything.
  return own.length === 0 ? [CLOSED] : own.map(({ id, mask }) => ({ id, mask, invert: false }));
}

function readCounts(): ReceiveCounts {
  const read = (name: string) => {
    try {
      return readFileSync(`/proc/net/can/rcvlist_${name}`, 'latin1');
    } catch {
      return '';
    }
  };
  return parseReceiveLists(['all', 'fil', 'inv', 'sff', 'eff'].map(read), read('err'));
}

/** It ends by itself when its interface goes, and to stop it then is an error. */
function stopChannel(channel: RawChannel): void {
  try {
    channel.stop();
  } catch {
    // It has ended.
  }
}
