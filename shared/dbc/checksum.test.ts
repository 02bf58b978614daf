import { describe, expect, it } from 'vitest';
import { type ChecksumAlgorithm, writeChecksum } from './checksum.ts';
import { compileMessage } from './message-codec.ts';
import { parseDbc } from './parser/dbc-parser.ts';

/** The checksum of "123456789" lies behind it, in a frame of 12 bytes. */
function of(algorithm: ChecksumAlgorithm, bytes: string, dataId: number[] = [], bits = '|8@1+'): number {
  const at = bytes.length * 8;
  const { messages } = parseDbc(
    `BO_ 291 M: ${bytes.length + 1} X\n SG_ Sum : ${at}${bits} (1,0) [0|0] "" X\n`,
    'test.dbc',
  );
  const codec = compileMessage(messages[0]!);
  const data = new Uint8Array(bytes.length + 1);
  data.set(Buffer.from(bytes, 'latin1'));
  codec.signal('Sum').writeRaw(data, 5); // what is there before does not count
  writeChecksum(data, codec.signal('Sum'), { signal: 'Sum', algorithm, dataId }, messages[0]!);
  expect(Buffer.from(data).toString('latin1', 0, bytes.length)).toBe(bytes);
  return Number(codec.signal('Sum').rawOf(data));
}

describe('a checksum', () => {
  // The check values of AUTOSAR's specification of CRC routines, over "123456789".
  it('is that of SAE J1850', () => expect(of('crc8-sae-j1850', '123456789')).toBe(0x4b));
  it('is CRC8H2F of AUTOSAR', () => expect(of('crc8-autosar', '123456789')).toBe(0xdf));
  it('begins with the data id', () => expect(of('crc8-autosar', '3456789', [0x31, 0x32])).toBe(0xdf));
  // 0x31 ^ 0x32 ^ 0x34 = 0x37
  it('is the exclusive or', () => expect(of('xor', '124')).toBe(0x37));
  // 3 * 0xff = 0x2fd, of which eight bits are left, or four
  it('is the sum', () => expect(of('sum', '\xff\xff\xff')).toBe(0xfd));
  it('is the sum in as many bits as there are', () => expect(of('sum', '\xff\xff\xff', [], '|4@1+')).toBe(0xd));
  // Id 0x123, four bytes long: 0x23 + 0x01 + 4 + 1 + 2 + 3
  it('is the sum with id and length', () => expect(of('sum-with-id', '\x01\x02\x03')).toBe(0x2e));
});
