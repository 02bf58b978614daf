import { describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { parseFrameText } from '../../shared/can/candump.ts';
import { parseCondition } from '../../shared/vss/condition.ts';
import type { SignalDatum } from '../../shared/vss/signal.ts';
import type { CanGrant, CanWrite } from '../manifest/workload.ts';
import { SHARED_RATE, WriteGuard } from './write-guard.ts';

function listed(id: number, extra: Partial<CanWrite> = {}): CanWrite {
  return { id, ext: false, length: undefined, maxPerSecond: undefined, ...extra };
}

function guardOf(write: readonly CanWrite[], when?: string) {
  const condition = when === undefined ? undefined : parseCondition(when);
  const grant: CanGrant = { bus: 'can0', read: [], write, as: 'socket', when: condition };
  const signals = new Map<string, SignalDatum>();
  const clock = { ms: 0 };
  const freshOf = (path: string) => signals.get(path);
  const guard = new WriteGuard(grant, { workload: 'app', freshOf, nowMs: () => clock.ms });
  /** 'passes', or the denial. */
  const check = (text: string): string | KerbError => {
    try {
      guard.check(parseFrameText(text));
      return 'passes';
    } catch (error) {
      if (error instanceof KerbError) return error;
      throw error;
    }
  };
  const passed = (text: string, times: number) =>
    Array.from({ length: times }, () => check(text)).filter((result) => result === 'passes').length;
  return { check, passed, signals, clock };
}

const denied = (code: number, reason: string, message: RegExp) => ({
  code,
  message: expect.stringMatching(message),
  context: expect.objectContaining({ workload: 'app', bus: 'can0', reason }),
});

describe('a write guard', () => {
  it('denies everything when nothing is listed', () => {
    const { check } = guardOf([]);
    for (const text of ['123#11', '000#', '1FFFFFFF#00', '123##011']) {
      expect(check(text)).toMatchObject(denied(ErrorCode.CanWriteNotGranted, 'id', /may not send CAN frame/));
    }
  });

  it('passes the ids that are listed, each as standard or extended, and names the grant for others', () => {
    const { check } = guardOf([listed(0x3e9), listed(0x3ea, { ext: true }), listed(0x1fffffff, { ext: true })]);
    expect(check('3E9#11')).toBe('passes');
    expect(check('000003EA#11')).toBe('passes');
    expect(check('1FFFFFFF#11')).toBe('passes');
    const wanted =
      /workload app may not send CAN frame 3EA to "can0": its manifest would need x-obu\.grants\.can: \[\{ bus: can0, write: \[\{ id: "3EA" \}\] \}\]/;
    expect(check('3EA#11')).toMatchObject(denied(ErrorCode.CanWriteNotGranted, 'id', wanted));
    expect(check('000003E9#11')).toMatchObject(denied(ErrorCode.CanWriteNotGranted, 'id', /id: "000003E9"/));
  });

  it('denies remote and error frames, also of listed ids', () => {
    const { check } = guardOf([listed(0x3e9), listed(0x40)]);
    expect(check('3E9#R')).toMatchObject(denied(ErrorCode.CanWriteNotGranted, 'kind', /remote frames/));
    expect(check('20000040#0000000000000000')).toMatchObject(
      denied(ErrorCode.CanWriteNotGranted, 'kind', /error frames/),
    );
  });

  it('holds to the lengths, of several entries for one id too, for CAN FD as for classical frames', () => {
    const { check } = guardOf([listed(0x3e9, { length: 0 }), listed(0x3e9, { length: 12 })]);
    expect(check('3E9#')).toBe('passes');
    expect(check('3E9##0')).toBe('passes');
    expect(check('3E9##1000102030405060708090A0B')).toBe('passes');
    expect(check('3E9#11')).toMatchObject(
      denied(ErrorCode.CanWriteWrongLength, 'length', /it has 1 bytes, and its manifest allows 0 or 12/),
    );
  });

  it('holds to the rate of each id, and says when there is room again', () => {
    const { check, passed, clock } = guardOf([listed(1, { maxPerSecond: 10 }), listed(2, { maxPerSecond: 0.5 })]);
    expect(passed('001#', 100)).toBe(10);
    expect(check('001#')).toMatchObject(denied(ErrorCode.CanWriteTooFast, 'rate', /more than 10 per second/));
    expect((check('001#') as KerbError).context.retryAfterMs).toBe(100);
    expect(passed('002#', 100)).toBe(1);
    expect((check('002#') as KerbError).context.retryAfterMs).toBe(2000);
    clock.ms = 500;
    expect(passed('001#', 100)).toBe(5);
    expect(passed('002#', 100)).toBe(0);
    clock.ms = 2500;
    expect(passed('002#', 100)).toBe(1);
    // Silence saves up one second's worth and no more.
    clock.ms = 3_600_000;
    expect(passed('001#', 100)).toBe(10);
  });

  it('lets what has no rate of its own share one', () => {
    const { passed } = guardOf([listed(1), listed(2), listed(3, { maxPerSecond: 5 })]);
    expect(passed('001#', SHARED_RATE)).toBe(SHARED_RATE);
    expect(passed('002#', 10)).toBe(0);
    expect(passed('003#', 10)).toBe(5);
  });

  it('passes nothing while the condition does not hold, or what it asks for is not known', () => {
    const { check, passed, signals } = guardOf([listed(1, { maxPerSecond: 3 })], 'Vehicle.IsMoving == false');
    const { CanWriteNotNow } = ErrorCode;
    expect(check('001#')).toMatchObject(
      denied(
        CanWriteNotNow,
        'condition',
        /only while Vehicle\.IsMoving == false, and Vehicle\.IsMoving has no fresh value/,
      ),
    );
    signals.set('Vehicle.IsMoving', true);
    expect(check('001#')).toMatchObject(denied(CanWriteNotNow, 'condition', /and Vehicle\.IsMoving is true/));
    signals.set('Vehicle.IsMoving', false);
    // What was denied has not used up the rate.
    expect(passed('001#', 10)).toBe(3);
    signals.delete('Vehicle.IsMoving');
    expect(check('001#')).toMatchObject(denied(CanWriteNotNow, 'condition', /no fresh value/));
  });

  it('is not made from a condition that cannot be read', () => {
    expect(() => guardOf([], 'Vehicle.Speed <')).toThrow(expect.objectContaining({ code: ErrorCode.BadCondition }));
  });
});
