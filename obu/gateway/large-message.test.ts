import { describe, expect, it } from 'vitest';
import { kerbside } from '../../shared/protocol/generated/gateway.js';
import { isCheapToDecode, MAX_PLAIN } from './large-message.ts';

const { ClientMessage } = kerbside.gateway.v1;
const encode = (message: kerbside.gateway.v1.ClientMessage.$Properties) => ClientMessage.encode(message).finish();

function field(number: number, body: Uint8Array): Buffer {
  const { length } = body;
  const varint = Buffer.from([(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, (length >> 14) & 0x7f]);
  return Buffer.concat([Buffer.of((number << 3) | 2), varint, body]);
}

const request = Buffer.of(8, 5);
const empties = (tag: number) => Buffer.alloc(2 * MAX_PLAIN).map((_, i) => (i % 2 === 0 ? tag : 0));
const offload = { id: 'a', task: 'b', budgetMs: 5 };

describe('a message is taken', () => {
  it.each([
    ['with a large input', encode({ request: 5, offload: { ...offload, input: Buffer.alloc(4 * MAX_PLAIN) } })],
    ['with its fields in another order', Buffer.concat([field(6, field(3, Buffer.alloc(4 * MAX_PLAIN))), request])],
    [
      'of many small fields, as long as it is small',
      encode({ request: 5, subscribeCan: { filters: Array(5000).fill('') } }),
    ],
  ])('%s', (_what, bytes) => {
    expect(isCheapToDecode(bytes)).toBe(true);
  });
});

describe('a large message is refused', () => {
  it.each([
    ['of empty paths', Buffer.concat([request, field(4, empties(0x0a))])],
    ['of empty offloads', Buffer.concat([request, empties(0x32)])],
    ['of unknown fields', Buffer.concat([request, empties(0x78)])],
    ['of unknown fields in an offload', Buffer.concat([request, field(6, empties(0x78))])],
    ['of filters behind an empty offload', Buffer.concat([request, field(6, Buffer.of()), field(3, empties(0x12))])],
    ['of filters behind an offload that ends too early', Buffer.concat([Buffer.of(0x32, 1), field(3, empties(0x12))])],
    ['of fields in a group', Buffer.concat([Buffer.of(0x7b), empties(0x78), Buffer.of(0x7c)])],
    [
      'whose input is longer than the message',
      Buffer.concat([field(6, Buffer.from('1affffff7f', 'hex')), empties(0x78)]),
    ],
  ])('%s', (_what, bytes) => {
    expect(isCheapToDecode(bytes)).toBe(false);
  });
});
