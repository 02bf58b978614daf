import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, type Obu } from '../../shared/app-sdk/index.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { allGrants, canRead, HandObu, noGrants, value, workload } from '../../test/support/gateway-parts.ts';
import type { StoredGrants } from '../manifest/stored-grants.ts';
import type { Gateway } from './gateway.ts';

let obu: HandObu;
let gateway: Gateway;
let path: string;
let app: Obu;

beforeEach(async () => {
  obu = new HandObu();
  ({ gateway, path } = await obu.serve(workload('app', allGrants)));
  app = await connect({ path });
});
afterEach(async () => {
  app.close();
  await obu.close();
});

const regrant = (own: Partial<StoredGrants>) => gateway.regrant(workload('app', { ...allGrants, ...own }));

/** When an offload is answered, what was asked before it is open. */
const settled = () => app.offload('dashcam-filter', Buffer.of(1), { budgetMs: 400 });

/** What a loop over a stream met: its items, and how it ended. */
function watch<T>(stream: AsyncIterable<T>) {
  const seen: { items: T[]; error: unknown; ended: boolean } = { items: [], error: undefined, ended: false };
  void (async () => {
    try {
      for await (const item of stream) seen.items.push(item);
    } catch (error) {
      seen.error = error;
    }
    seen.ended = true;
  })();
  return seen;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe('grants that the manifest takes away', () => {
  it('end what was open at once, with the reason, and leave the rest', async () => {
    const can = watch(app.can({ bus: 'can0' }));
    const signals = watch(app.signals(['Vehicle.Speed']));
    const pictures = watch(app.camera('front'));
    await settled();
    regrant({ can: [], cameras: [] });
    // At once: nothing that comes now is delivered any more.
    expect(obu.camera.consumers.size).toBe(0);
    obu.bus.deliver(0x101);
    await until(() => can.ended && pictures.ended);
    expect(can.items).toEqual([]);
    expect(can.error).toMatchObject({
      code: ErrorCode.NotGranted,
      message: expect.stringMatching(/^the manifest has changed: workload app may not read CAN bus "can0"/),
    });
    expect(pictures.error).toMatchObject({ code: ErrorCode.NotGranted });
    obu.signals.deliver(value('Vehicle.Speed', 7));
    await until(() => signals.items.length > 0);
    expect(signals).toMatchObject({ ended: false, error: undefined });
  });

  it('hold for what is asked afterwards', async () => {
    regrant(noGrants);
    await expect(settled()).rejects.toMatchObject({ code: ErrorCode.NotGranted });
    const can = watch(app.can({ bus: 'can0' }));
    await until(() => can.ended);
    expect(can.error).toMatchObject({ code: ErrorCode.NotGranted });
  });

  it('narrow what goes on', async () => {
    const can = watch(app.can({ bus: 'can0' }));
    const signals = watch(app.signals(['Vehicle']));
    watch(app.camera('front', { fps: 8 }));
    await settled();
    regrant({
      can: [canRead('can0', '102:7FF')],
      signals: ['read:Vehicle', '!read:Vehicle.Chassis'],
      cameras: [{ name: 'front', maxFps: 2 }],
    });
    obu.bus.deliver(0x101, 0x102);
    obu.signals.deliver(value('Vehicle.Chassis.SteeringWheel.Angle', 1), value('Vehicle.Cabin.Door.IsOpen', true));
    await until(() => can.items.length > 0 && signals.items.length > 0);
    expect(can.items.flatMap(({ frames }) => frames.map(({ id }) => id))).toEqual([0x102]);
    expect(signals.items.flat().map((one) => one.path)).toEqual(['Vehicle.Cabin.Door.IsOpen']);
    expect([...obu.camera.consumers.values()]).toMatchObject([{ fps: 2 }]);
    expect([can.ended, signals.ended]).toEqual([false, false]);
  });

  it('leave nothing behind when the container goes', async () => {
    watch(app.can({ bus: 'can0' }));
    watch(app.signals(['Vehicle'], { minIntervalMs: 1000 }));
    await settled();
    regrant({ can: [], signals: ['read:Vehicle.Speed'] });
    app.close();
    await until(() => obu.signals.listeners.size === 0);
  });
});

describe('grants that the manifest gives', () => {
  it('hold at once, and are told to whoever connects', async () => {
    const door = watch(app.signals(['Vehicle.Cabin']));
    await until(() => door.ended);
    regrant({ signals: ['read:Vehicle.Cabin'] });
    const again = watch(app.signals(['Vehicle.Cabin']));
    await settled();
    obu.signals.deliver(value('Vehicle.Cabin.Door.IsOpen', true));
    await until(() => again.items.length > 0);
    const second = await connect({ path });
    expect(second.grants.signals).toEqual(['read:Vehicle.Cabin']);
    second.close();
  });

  it('do not disturb what they do not touch', async () => {
    obu.signals.deliver(value('Vehicle.Speed', 1));
    const signals = watch(app.signals(['Vehicle.Speed']));
    await settled();
    regrant({ cameras: [] });
    await settled();
    // A new subscription would have brought the known value again.
    expect(signals.items).toHaveLength(1);
  });
});
