import { afterEach, beforeEach, expect, it } from 'vitest';
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { RawChannel, RawFilter, RawMessage } from '../../shared/can/socketcan-package.ts';
import { ERROR_KEY, filterKey } from './denied-filters.ts';
import { DeniedFrames } from './denied-frames.ts';

const HOST = 'kb000001';
const write = [{ id: 0x3e9, mask: 0xc00007ff }];
const link = { workload: 'some', bus: 'can0', host: HOST, write };

/** A raw socket of a kernel that hands on what is put into it. */
class FakeChannel {
  filters: readonly RawFilter[] = [];
  started = false;
  stopped = false;
  #listener: (message: RawMessage) => void = () => {};

  addListener(event: string, listener: (message: RawMessage) => void): void {
    if (event === 'onMessage') this.#listener = listener;
  }

  setRxFilters(filters: RawFilter | readonly RawFilter[]): void {
    this.filters = 'id' in filters ? [filters] : filters;
  }

  setErrorFilters(): void {}

  start(): void {
    this.started = true;
  }

  stop(): void {
    this.stopped = true;
  }

  come(message: Partial<RawMessage>): void {
    const isOpen = this.filters.some(({ invert }) => !invert);
    if (this.started && isOpen) this.#listener({ id: 0, data: Buffer.alloc(0), ...message });
  }
}

let channels: FakeChannel[];
let kernel: Map<string, number>;
let denied: Record<string, number>;
let ids: string[];
let faults: KerbError[];
let frames: DeniedFrames;

beforeEach(() => {
  channels = [];
  kernel = new Map();
  denied = {};
  ids = [];
  faults = [];
  frames = new DeniedFrames({
    report: (one) => {
      if (one.event === 'can-denied') denied[one.reason] = (denied[one.reason] ?? 0) + one.frames;
      if (one.event === 'can-denied-id') ids.push(`${one.workload} ${one.bus} ${one.id}`);
      if (one.event === 'workload-fault') faults.push(one.error);
    },
    log: silentLog(),
    open: () => {
      const channel = new FakeChannel();
      channels.push(channel);
      return channel as unknown as RawChannel;
    },
    readCounts: () => new Map([[HOST, kernel]]),
  });
});

afterEach(() => frames.stop());

const REMOTE = filterKey({ id: 0x40000000, mask: 0x40000000 });
const EXTENDED = filterKey({ id: 0x80000000, mask: 0xc0000000 });

it('counts what the kernel counted since the last look, by reason', () => {
  frames.watch(link);
  frames.look();
  expect(denied).toEqual({});
  kernel.set(REMOTE, 3).set(EXTENDED, 5).set(ERROR_KEY, 1);
  frames.look();
  frames.look();
  expect(denied).toEqual({ kind: 4, id: 5 });
  kernel.set(EXTENDED, 6);
  frames.unwatch(HOST);
  expect(denied).toEqual({ kind: 4, id: 6 });
  kernel.set(EXTENDED, 9);
  frames.look();
  expect(denied).toEqual({ kind: 4, id: 6 });
});

it('reads nothing before the first denied frame, and then names ids', () => {
  frames.watch(link);
  frames.look();
  expect(channels.map(({ started }) => started)).toEqual([false, false]);
  kernel.set(EXTENDED, 1);
  frames.look();
  const [counter, sampler] = channels as [FakeChannel, FakeChannel];
  expect([counter.started, sampler.started]).toEqual([false, true]);
  sampler.come({ id: 0x3ea });
  sampler.come({ id: 0x3ea });
  sampler.come({ id: 0x3e9, ext: true });
  sampler.come({ id: 0x3e9, rtr: true });
  // Of the moment before the filters were set.
  sampler.come({ id: 0x3e9 });
  expect(ids).toEqual(['some can0 3EA', 'some can0 3EA', 'some can0 000003E9', 'some can0 3E9#R']);
  expect(faults.map(({ code, context }) => [code, context.id, context.reason])).toEqual([
    [ErrorCode.CanWriteNotGranted, '3EA', 'id'],
    [ErrorCode.CanWriteNotGranted, '000003E9', 'id'],
    [ErrorCode.CanWriteNotGranted, '3E9', 'kind'],
  ]);
});

it('reads only so many frames of a flood, reports few, and counts all', () => {
  frames.watch(link);
  kernel.set(EXTENDED, 1);
  frames.look();
  const sampler = channels[1]!;
  for (let i = 0; i < 2000; i++) sampler.come({ id: i, ext: true });
  expect(ids.length).toBe(500);
  expect(faults.length).toBe(4);
  kernel.set(EXTENDED, 2000);
  frames.look();
  expect(denied).toEqual({ id: 2000 });
  for (let i = 0; i < 2000; i++) sampler.come({ id: i, ext: true });
  expect(ids.length).toBe(1000);
});

it('counts from 0 when the grant changes, and loses nothing of before', () => {
  frames.watch(link);
  kernel.set(EXTENDED, 4);
  frames.watch({ ...link, write: [{ id: 0x3ea, mask: 0xc00007ff }] });
  kernel.set(EXTENDED, 0);
  frames.look();
  kernel.set(EXTENDED, 2);
  frames.look();
  expect(denied).toEqual({ id: 6 });
});

it('opens as many sockets as its filters need', () => {
  const many = Array.from({ length: 60 }, (_, i) => ({ id: (0x80000000 | (i * 4_190_209)) >>> 0, mask: 0xdfffffff }));
  frames.watch({ ...link, write: many });
  expect(channels.length).toBeGreaterThan(2);
  for (const { filters } of channels) expect(filters.length).toBeLessThanOrEqual(512);
});

it('goes on without counts where no socket can be opened', () => {
  const broken = new DeniedFrames({
    report: () => {},
    log: silentLog(),
    open: () => {
      throw new Error('Error while creating channel');
    },
    readCounts: () => new Map(),
  });
  broken.watch(link);
  broken.look();
  broken.unwatch(HOST);
  broken.stop();
});
