import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { openBus, parseBusSpec } from './open-bus.ts';
import { isCanInterface } from './socketcan-bus.ts';

describe('parseBusSpec', () => {
  it.each([
    ['can0', { name: 'can0', kind: 'auto' }],
    ['auto:can0', { name: 'can0', kind: 'auto' }],
    ['socketcan:vcan0', { name: 'vcan0', kind: 'socketcan' }],
    ['userspace:can0', { name: 'can0', kind: 'userspace' }],
    ['userspace:can0@/run/x/bus.sock', { name: 'can0', kind: 'userspace', socketPath: '/run/x/bus.sock' }],
    ['can0@/a b/c@d.sock', { name: 'can0', kind: 'auto', socketPath: '/a b/c@d.sock' }],
  ])('reads %s', (spec, choice) => {
    expect(parseBusSpec(spec)).toEqual(choice);
  });

  it.each(['', 'can0:', 'serial:can0', 'a/b', '..', 'can0@relative', 'abcdefghijklmnop', 'socketcan:can0@/x', 'can 0'])(
    'refuses "%s"',
    (spec) => {
      expect(() => parseBusSpec(spec)).toThrow(expect.objectContaining({ code: ErrorCode.BadConfig }));
    },
  );
});

describe('openBus', () => {
  it('takes the userspace bus where the kernel has no such interface, and says why', () => {
    const { bus, kind, reason } = openBus({ name: 'nocan7', kind: 'auto', socketPath: '/x/y.sock' });
    expect(kind).toBe('userspace');
    expect(bus.kind).toBe('userspace');
    expect(reason).toBe('nocan7 is the userspace bus at /x/y.sock: the kernel has no CAN interface of that name');
  });

  it('does as it is told', () => {
    expect(openBus({ name: 'nocan7', kind: 'socketcan' })).toMatchObject({ kind: 'socketcan' });
    expect(openBus({ name: 'lo', kind: 'userspace' }).reason).toContain('as asked');
  });

  it('says what is missing when SocketCAN is asked for and not there', async () => {
    await expect(openBus({ name: 'nocan7', kind: 'socketcan' }).bus.start()).rejects.toMatchObject({
      code: ErrorCode.BusUnavailable,
      message: expect.stringContaining('ip link add dev nocan7 type vcan'),
    });
  });

  it('does not take another interface for CAN', () => {
    expect(isCanInterface('lo')).toBe(false);
    expect(isCanInterface('../../etc')).toBe(false);
  });
});
