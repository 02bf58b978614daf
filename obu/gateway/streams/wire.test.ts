import { describe, expect, it } from 'vitest';
import { toCanBatch, toPicture, toSignalValues } from '../../../shared/app-sdk/messages.ts';
import { DelimitedReader } from '../../../shared/protocol/framing.ts';
import { kerbside } from '../../../shared/protocol/generated/gateway.js';
import { frame } from '../../../test/support/gateway-parts.ts';
import { encodeCanFrames, encodeMessage, encodePicture, encodeSignalValues } from './wire.ts';

const { ServerMessage } = kerbside.gateway.v1;

function decode(...parts: Uint8Array[]) {
  const [message, ...more] = new DelimitedReader().push(Buffer.concat(parts));
  expect(more).toEqual([]);
  return ServerMessage.decode(message!);
}

describe('bytes that are written by hand', () => {
  it('are what the generated code writes, for CAN frames', () => {
    const frames = [frame(0x7ff), frame(0x1fffffff, { ext: true, rtr: true, data: new Uint8Array() })];
    const byHand = encodeCanFrames(300, 'can0', frames, 12);
    const wireFrames = frames.map(({ id, data, timeUs }, i) => ({
      id,
      ...(i === 1 && { flags: 3 }),
      ...(data.length > 0 && { data }),
      timeUs,
    }));
    const [generated] = encodeMessage({ request: 300, canFrames: { bus: 'can0', frames: wireFrames, dropped: 12 } });
    expect(Buffer.from(byHand).equals(Buffer.from(generated!))).toBe(true);
  });

  it('carry every flag of a CAN frame', () => {
    const flags = ['ext', 'rtr', 'fd', 'brs', 'esi', 'err'] as const;
    const frames = flags.map((flag) => frame(5, { [flag]: true }));
    const { canFrames } = decode(encodeCanFrames(1, 'can0', frames, 0));
    expect(toCanBatch(canFrames!).frames.map((one) => flags.filter((flag) => one[flag]))).toEqual(
      flags.map((f) => [f]),
    );
  });

  it('carry numbers, booleans and texts of signals, also when they are 0, false and empty', () => {
    const lists = [[], [1, -2.5, 0], ['', 'a'], [false, true], [2n ** 64n - 1n, 1]];
    const values = [0, -1.5, false, true, '', 'D', 2n ** 64n - 1n, -(2n ** 63n), ...lists].map((value, i) => ({
      path: `P${i}`,
      value,
      timeUs: i,
      source: 'can0',
      stale: i === 1,
    }));
    const message = decode(encodeSignalValues(1, values, 2));
    expect(toSignalValues(message.signalValues!)).toEqual(values);
    expect(Number(message.signalValues!.dropped)).toBe(2);
  });

  it.each([0, 1, 127, 128, 20_000])('carry a picture of %i bytes, which are not copied', (length) => {
    const data = new Uint8Array(length).fill(9);
    const picture = {
      camera: 'front',
      sequence: 4,
      timeUs: 1_700_000_000_123_456,
      format: 'rgb24' as const,
      width: 640,
      height: 480,
      data,
    };
    const parts = encodePicture(70_000, picture, picture.sequence, 1);
    expect(parts.at(-1)).toBe(data);
    const message = decode(...parts);
    expect(message.request).toBe(70_000);
    expect(toPicture(message.cameraFrame!)).toEqual({ ...picture, data: Buffer.from(data) });
    expect(Number(message.cameraFrame!.dropped)).toBe(1);
  });
});
