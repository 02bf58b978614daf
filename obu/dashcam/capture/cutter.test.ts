import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { MpjpegCutter, RawCutter } from './cutter.ts';

const SOI = [0xff, 0xd8];
const EOI = [0xff, 0xd9];
const small = Buffer.from([...SOI, 0xff, 0xfe, 0, 2, ...EOI]);
/** A file that holds another whole file (a thumbnail), newlines and the boundary itself. */
const nasty = Buffer.from([...SOI, ...small, 0x0a, ...Buffer.from('\r\n--ffmpeg\r\n'), ...EOI, ...SOI, 1, 2, ...EOI]);

const part = (jpeg: Buffer, length: string | number = jpeg.length) =>
  Buffer.concat([
    Buffer.from(`Content-type: image/jpeg\r\nContent-length: ${length}\r\n\r\n`),
    jpeg,
    Buffer.from('\r\n--ffmpeg\r\n'),
  ]);
const start = Buffer.from('--ffmpeg\r\n');

function cut(bytes: Buffer, size = bytes.length): Buffer[] {
  const pictures: Buffer[] = [];
  const cutter = new MpjpegCutter((data) => pictures.push(data));
  for (let at = 0; at < bytes.length; at += size) cutter.push(bytes.subarray(at, at + size));
  return pictures;
}

describe('MpjpegCutter', () => {
  const stream = Buffer.concat([start, part(nasty), part(small), part(nasty)]);

  it.each([1, 2, 3, 5, 17, 64, 10_000])('cuts by length in chunks of %i bytes, whatever the files hold', (size) => {
    expect(cut(stream, size)).toEqual([nasty, small, nasty]);
  });

  it('delivers a picture with its last byte, not with the next one', () => {
    const whole = Buffer.concat([start, part(small)]);
    expect(cut(whole.subarray(0, whole.length - '\r\n--ffmpeg\r\n'.length))).toEqual([small]);
  });

  it.each<[string, Buffer]>([
    ['a bare JPEG', Buffer.concat([small, Buffer.alloc(300, 0x55), small])],
    ['another boundary', Buffer.from('--other\r\n')],
    ['no length', Buffer.concat([start, Buffer.from('Content-type: image/jpeg\r\n\r\n')])],
    ['a length that is no number', Buffer.concat([start, part(small, 'many')])],
    ['a negative length', Buffer.concat([start, part(small, -4)])],
    ['length 0', Buffer.concat([start, part(small, 0)])],
    ['a length of a gigabyte', Buffer.concat([start, part(small, 999_999_999)])],
    ['a length that is too short', Buffer.concat([start, part(small, small.length - 1)])],
    ['a length that is too long', Buffer.concat([start, part(small, small.length + 1)])],
    ['a picture that is no JPEG', Buffer.concat([start, part(Buffer.from('GIF89a..'))])],
    ['a header that is none', Buffer.concat([start, Buffer.from('hello\r\n')])],
    ['a line without end', Buffer.concat([start, Buffer.alloc(300, 0x41)])],
  ])('refuses %s', (_, bytes) => {
    for (const size of [1, bytes.length]) {
      expect(() => cut(bytes, size)).toThrow(expect.objectContaining({ code: ErrorCode.CameraUnavailable }));
    }
  });
});

describe('RawCutter', () => {
  it.each([1, 3, 4, 5, 11])('cuts pictures of one size out of chunks of %i bytes', (size) => {
    const bytes = Buffer.from([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    const pictures: Buffer[] = [];
    const cutter = new RawCutter(4, (data) => pictures.push(data));
    for (let at = 0; at < bytes.length; at += size) cutter.push(bytes.subarray(at, at + size));
    expect(pictures).toEqual([Buffer.alloc(4, 1), Buffer.alloc(4, 2)]);
  });
});
