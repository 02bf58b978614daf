/**
 * What a peer may send, changed at random: each message is taken, or refused with one line. The corpus has one sample of
 * each shape; whatever once was answered wrongly belongs there, too. `npm run test:long` tries many more.
 */
import { describe, expect, test } from 'vitest';
import { decodeOffload } from '../../broker/ingress/codec.ts';
import { FrameRules } from '../../broker/ingress/frame-rules.ts';
import { decodeCancel, decodeDescribe, decodeState } from '../../broker/ingress/replies.ts';
import { isKerbError, messageOf } from '../../shared/base/errors.ts';
import { greetingFrom } from '../../shared/protocol/greeting.ts';
import { readEvent } from '../../shared/protocol/v2e-parser.ts';
import { decodePush } from '../../shared/task-package/push-codec.ts';
import { decodeAnnouncement } from '../../shared/v2e-client/announcement.ts';
import { decodeDrainNotice } from '../../shared/v2e-client/drain-notice.ts';
import { rounds } from '../support/rounds.ts';
import { corpusOf, mutantOf, Random } from './mutants.ts';

const ROUNDS = rounds(2000, 200_000);
const MAX_MESSAGE = 400;
/** Line ends and other control characters, which a log would show as something else. */
const CONTROL = /[\u0000-\u001f\u007f\u2028\u2029]/;

interface Target {
  readonly kind: string;
  /** Reads one message. What it throws is what the peer, or the log, is told. */
  readonly read: (bytes: Buffer) => unknown;
  /** Whether everything that it throws has a code. */
  readonly coded: boolean;
}

const client = (version: number) => ({ tenant: 'ACME', id: 'car-1', version });

/** It ends the connection by itself over what is no JSON. */
function asSocketIoReads(bytes: Buffer): unknown {
  try {
    return JSON.parse(String(bytes));
  } catch {
    throw new Error('no JSON');
  }
}

const TARGETS: readonly Target[] = [
  { kind: 'offload', read: (bytes) => decodeOffload(bytes, client(2), 0), coded: true },
  { kind: 'cancel', read: decodeCancel, coded: true },
  { kind: 'describe', read: decodeDescribe, coded: true },
  { kind: 'state', read: decodeState, coded: true },
  { kind: 'push', read: decodePush, coded: true },
  { kind: 'event', read: readEvent, coded: true },
  { kind: 'announcement', read: decodeAnnouncement, coded: false },
  { kind: 'drain', read: decodeDrainNotice, coded: false },
  { kind: 'greeting', read: (bytes) => greetingFrom(asSocketIoReads(bytes)), coded: false },
];

/** Undefined: it was taken. */
function problemWith(target: Target, bytes: Buffer): Error | undefined {
  try {
    target.read(bytes);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

describe.each(TARGETS)('$kind', (target) => {
  const samples = corpusOf(target.kind);

  test('what is changed at random is taken, or refused in one short line', () => {
    const random = new Random(20_261_128);
    let [taken, refused] = [0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = mutantOf(samples, random);
      const before = Buffer.from(bytes);
      const problem = problemWith(target, bytes);
      if (problem === undefined) taken++;
      else refused++;
      const text = problem === undefined ? '' : messageOf(problem);
      const isGood =
        problem === undefined ||
        ((!target.coded || isKerbError(problem)) && text.length <= MAX_MESSAGE && !CONTROL.test(text));
      if (!isGood || !bytes.equals(before)) {
        expect.fail(
          `${target.kind}, round ${round}: ${bytes.toString('hex')} gave ${problem?.stack ?? 'changed bytes'}`,
        );
      }
    }
    // Else the changes are so small, or so large, that they try nothing.
    expect(taken).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
  });

  test('a message cut off at any byte is taken or refused as well', () => {
    for (const { name, bytes } of samples) {
      for (let end = 0; end < bytes.length; end++) {
        const problem = problemWith(target, bytes.subarray(0, end));
        if (problem === undefined || !target.coded) continue;
        expect(isKerbError(problem), `${name}, ${end} bytes: ${problem.stack}`).toBe(true);
      }
    }
  });
});

test('groups of protobuf within each other, as many as a message has bytes, end with a refusal', () => {
  const deep = Buffer.alloc(4 << 20, 0xfb).fill(Buffer.from([0xfb, 0x01]));
  for (const target of TARGETS.filter(({ kind }) => !['event', 'greeting'].includes(kind))) {
    const problem = problemWith(target, deep);
    expect(problem, target.kind).toBeInstanceOf(Error);
    expect(messageOf(problem).length).toBeLessThanOrEqual(MAX_MESSAGE);
  }
});

test('text frames: nothing that is changed at random gets past the rules but what they name', () => {
  const random = new Random(7);
  const texts = [
    '40',
    '40{"versions":[1,2]}',
    '41',
    '3',
    '2',
    '40/admin,',
    '42["x"]',
    '451-["x",{"_placeholder":true}]',
  ];
  const samples = texts.map((text) => ({ name: text, bytes: Buffer.from(text) }));
  let passed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = mutantOf(samples, random);
    if (new FrameRules(0).judge(bytes, false, 0) !== 'pass') continue;
    passed++;
    // A pong, or the CONNECT of the default namespace, with a greeting or none.
    expect(String(bytes)).toMatch(/^(3|40(\{.*)?)$/s);
  }
  expect(passed).toBeGreaterThan(0);
});
