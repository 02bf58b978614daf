/**
 * What one vehicle with a valid certificate may try against a broker. Each attack goes on until its signal is aborted,
 * comes back when it is cut off, and throws nothing: the broker is what is looked at.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { SecureContextOptions } from 'node:tls';
import { kerbside } from '../../../shared/protocol/generated/v2e.js';
import { RawVehicle } from './raw-vehicle.ts';

const { OffloadRequest } = kerbside.v2e;
const KIB = 1024;
const MIB = 1024 * KIB;
const HOUR_MS = 3_600_000;
/** After it was cut off or turned away. */
const AGAIN_MS = 50;

export interface AttackTarget {
  readonly url: string;
  readonly tls: SecureContextOptions;
  /** Of a task that gives its input back, takes 4 MiB, and computes for ever when the input is four bytes of all ones. */
  readonly taskDigest: string;
  /** Share of the connections, messages and bytes that the attack is named after; less than 1 in a test of it. */
  readonly share?: number;
}

type Attack = (target: AttackTarget, signal: AbortSignal) => Promise<void>;
type Fields = Parameters<typeof OffloadRequest.encode>[0];

let nextId = 0;
const freshId = () => `attack-${nextId++}`;

/** At least one of what the attack is named after. */
const scaled = ({ share = 1 }: AttackTarget, count: number) => Math.max(1, Math.round(share * count));

const offload = (target: AttackTarget, fields: Fields) =>
  OffloadRequest.encode({ taskDigest: target.taskDigest, budgetMs: 1000, id: freshId(), ...fields }).finish();

/** Connects again and again and lets `use` do its worst with each connection, until it is cut off. */
async function insist(
  target: AttackTarget,
  signal: AbortSignal,
  use: (vehicle: RawVehicle) => Promise<void> | void,
  connect: (url: string, tls: SecureContextOptions) => Promise<RawVehicle> = RawVehicle.connect,
): Promise<void> {
  while (!signal.aborted) {
    const vehicle = await connect(target.url, target.tls).catch(() => undefined);
    if (vehicle === undefined) {
      await pause(AGAIN_MS, signal);
      continue;
    }
    const stop = () => vehicle.end();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    await use(vehicle);
    await vehicle.closed;
    signal.removeEventListener('abort', stop);
    await pause(AGAIN_MS, signal);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

/** Sends as fast as the connection takes it, with at most `most` bytes on the way out. */
async function pour(vehicle: RawVehicle, signal: AbortSignal, most: number, next: () => Uint8Array): Promise<void> {
  while (vehicle.connected && !signal.aborted) {
    for (let i = 0; i < 64 && vehicle.unsent < most; i++) vehicle.emit('offload', next());
    await new Promise((resolve) => setImmediate(resolve));
    if (vehicle.unsent >= most) await pause(1, signal);
  }
}

/** Keeps so many unanswered. */
async function keepOpen(vehicle: RawVehicle, count: number, next: () => Uint8Array): Promise<void> {
  vehicle.onAnswer = () => vehicle.emit('offload', next());
  for (let i = 0; i < count; i++) vehicle.emit('offload', next());
}

/** Requests that are refused: the task does not exist. */
const refused: Attack = (target, signal) =>
  insist(target, signal, (vehicle) =>
    pour(vehicle, signal, 256 * KIB, () => offload(target, { taskDigest: `sha256:${'0'.repeat(64)}` })),
  );

/** The same id, again and again, with 4 MiB of input. */
const oneId: Attack = (target, signal) => {
  const again = offload(target, { id: 'the-same', input: Buffer.alloc(scaled(target, 4 * MIB)) });
  return insist(target, signal, (vehicle) => keepOpen(vehicle, 8, () => again));
};

/** 64 in flight of 1 MiB each. */
const largeInputs: Attack = (target, signal) => {
  const input = Buffer.alloc(scaled(target, MIB));
  return insist(target, signal, (vehicle) => keepOpen(vehicle, 64, () => offload(target, { input })));
};

/**
 * 2,000 CONNECTs of socket.io in one write of 16 KB, on 50 connections, instead of a greeting: the first of them has not
 * been answered when the others come.
 */
const connects: Attack = async (target, signal) => {
  const write = (vehicle: RawVehicle) => vehicle.writeAtOnce('40', scaled(target, 2000));
  const one = () => insist(target, signal, write, RawVehicle.open);
  await Promise.all(Array.from({ length: scaled(target, 50) }, one));
};

/** Answers that are never read, on 18 connections. */
const unread: Attack = async (target, signal) => {
  const input = Buffer.alloc(scaled(target, MIB));
  const one = () =>
    insist(target, signal, async (vehicle) => {
      vehicle.stopReading();
      await pour(vehicle, signal, 4 * MIB, () => offload(target, { input }));
    });
  await Promise.all(Array.from({ length: scaled(target, 18) }, one));
};

/** 1,023 connections that are kept alive. */
const connections: Attack = async (target, signal) => {
  await Promise.all(Array.from({ length: scaled(target, 1023) }, () => insist(target, signal, () => {})));
};

/** 140 endless loops with the largest budget. */
const endless: Attack = (target, signal) => {
  const input = Buffer.alloc(4, 0xff);
  // A refusal comes at once; it is asked again a little later.
  const ask = () => offload(target, { input, budgetMs: HOUR_MS });
  return insist(target, signal, (vehicle) => {
    vehicle.onAnswer = () => void pause(10, signal).then(() => vehicle.emit('offload', ask()));
    for (let i = 0; i < 140; i++) vehicle.emit('offload', ask());
  });
};

/** By the words of the table in the benchmarks. */
export const ATTACKS: Readonly<Record<string, Attack>> = {
  'a flood of refused requests': refused,
  'one id repeated with 4 MiB': oneId,
  '64 in flight of 1 MiB': largeInputs,
  '2,000 CONNECTs in one write': connects,
  'answers never read': unread,
  '1,023 connections kept alive': connections,
  'endless loops with the largest budget': endless,
};
