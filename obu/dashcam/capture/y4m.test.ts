import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { parseY4mHeader, Y4mReader } from './y4m.ts';

const HEADER = 'YUV4MPEG2 W5 H3 F15:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL';
/** 5x3 luma and two planes of 3x2. */
const SIZE = 15 + 12;
const picture = (value: number) => Buffer.alloc(SIZE, value);
const frame = (value: number) => Buffer.concat([Buffer.from('FRAME\n'), picture(value)]);
const stream = Buffer.concat([Buffer.from(`${HEADER}\n`), frame(1), frame(0x0a), frame(3)]);

function collect(chunks: readonly Buffer[], keep = true): Buffer[] {
  const pictures: Buffer[] = [];
  const reader = new Y4mReader((planes) => {
    pictures.push(keep ? planes : Buffer.from(planes));
    return keep;
  });
  for (const chunk of chunks) reader.push(chunk);
  return pictures;
}

describe('Y4mReader', () => {
  it.each([1, 2, 3, 7, 26, 27, 28, 60, 1000])('finds the pictures in chunks of %i bytes', (size) => {
    const chunks = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    for (const keep of [true, false]) expect(collect(chunks, keep)).toEqual([picture(1), picture(0x0a), picture(3)]);
  });

  it('never writes again into a picture that was kept, and reuses one that was not', () => {
    const kept = collect([stream]);
    expect(new Set(kept.map((planes) => planes.buffer)).size).toBe(3);
    const seen = new Set<ArrayBufferLike>();
    const reader = new Y4mReader((planes) => {
      seen.add(planes.buffer);
      return false;
    });
    reader.push(stream);
    expect(seen.size).toBe(1);
  });

  it('takes a FRAME line with parameters', () => {
    expect(collect([Buffer.from(`${HEADER}\nFRAME Ip\n`), picture(9)])).toEqual([picture(9)]);
  });

  it.each([
    ['another format', Buffer.from('RIFF....AVI \n')],
    ['a line without end', Buffer.alloc(600, 0x41)],
    ['a line without end, bit by bit', Buffer.alloc(600, 0x41), 1],
    ['no FRAME after the first picture', Buffer.concat([stream, Buffer.from('garbage\n')])],
  ])('refuses %s', (_, bytes: Buffer, size = bytes.length) => {
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
    expect(() => collect(chunks)).toThrow(expect.objectContaining({ code: ErrorCode.CameraUnavailable }));
  });
});

describe('parseY4mHeader', () => {
  it('counts the bytes of even and odd sizes', () => {
    expect(parseY4mHeader('YUV4MPEG2 W640 H480')).toMatchObject({ width: 640, height: 480, pictureBytes: 460_800 });
    expect(parseY4mHeader(HEADER)).toMatchObject({ width: 5, height: 3, pictureBytes: SIZE });
  });

  it.each([
    'YUV4MPEG2',
    'YUV4MPEG2 W640',
    'YUV4MPEG2 W0 H480',
    'YUV4MPEG2 W-1 H480',
    'YUV4MPEG2 W640.5 H480',
    'YUV4MPEG2 W99999 H99999',
    'YUV4MPEG2 W640 H480 C444',
    'YUV4MPEG2 W640 H480 C420p10',
    'YUV4MPEG W640 H480',
    '',
  ])('refuses %j', (line) => {
    expect(() => parseY4mHeader(line)).toThrow(expect.objectContaining({ code: ErrorCode.CameraUnavailable }));
  });
});
