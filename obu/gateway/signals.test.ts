import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, type Obu } from '../../shared/app-sdk/index.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { HandObu, noGrants, workload } from '../../test/support/gateway-parts.ts';

let obu: HandObu;
const clients: Obu[] = [];

beforeEach(() => {
  obu = new HandObu();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await obu.close();
});

async function appWith(...signals: string[]) {
  const { path, gateway } = await obu.serve(workload('app', { ...noGrants, signals }));
  const app = await connect({ path });
  clients.push(app);
  return { app, gateway, path };
}

const code = (wanted: number) => expect.objectContaining({ code: wanted });
const speed = (value: number) => ({ path: 'Vehicle.Speed', value });
const DOOR = 'Vehicle.Cabin.Door.IsOpen';
const ANGLE = 'Vehicle.Chassis.SteeringWheel.Angle';

describe('a workload with scopes', () => {
  it('gets the values that are known', async () => {
    const { app } = await appWith('read:Vehicle', '!read:Vehicle.Chassis');
    expect(await app.get(['Vehicle'])).toEqual([]);
    obu.signals.deliver(speed(50), { path: ANGLE, value: 3 });
    const expected = { path: 'Vehicle.Speed', value: 50, source: 'can0', stale: false };
    expect(await app.get(['Vehicle'])).toMatchObject([expected]);
    obu.signals.lose();
    expect(await app.get(['Vehicle.Speed'])).toMatchObject([{ ...expected, stale: true }]);
    await expect(app.get([ANGLE])).rejects.toThrow(/and not "!read:Vehicle.Chassis", which denies it/);
    await expect(app.get(['Vehicle.No'])).rejects.toEqual(code(ErrorCode.UnknownSignal));
    await expect(app.get([])).rejects.toEqual(code(ErrorCode.BadGatewayRequest));
    await expect(app.get(Array(65).fill('Vehicle.*'))).rejects.toEqual(code(ErrorCode.TooManyRequests));
    await expect(app.get(Array(4097).fill('Vehicle.Speed'))).rejects.toEqual(code(ErrorCode.TooManyRequests));
  });

  it('hears that a value is stale', async () => {
    const { app } = await appWith('read:Vehicle.Speed');
    obu.signals.deliver(speed(1));
    const seen: boolean[] = [];
    for await (const [value] of app.signals(['Vehicle.Speed'], { onChange: true, minIntervalMs: 1 })) {
      seen.push(value!.stale);
      if (value!.stale) break;
      obu.signals.lose();
    }
    expect(seen).toEqual([false, true]);
  });

  it('hears on change only of what changed', async () => {
    const { app } = await appWith('read:Vehicle.Speed');
    const stream = app.signals(['Vehicle.Speed'], { onChange: true });
    while (obu.signals.listeners.size === 0) await sleep(5);
    for (const value of [1, 1, 2, 2, 1, 3]) obu.signals.deliver(speed(value));
    const got: unknown[] = [];
    for await (const values of stream) {
      got.push(...values.map(({ value }) => value));
      if (got.length >= 4) break;
    }
    expect(got).toEqual([1, 2, 1, 3]);
  });

  it('provides values of its own, and another one reads them', async () => {
    const { app, gateway } = await appWith(`provide:${ANGLE}`, 'provide:Vehicle.Cabin');
    await app.provide({ [ANGLE]: -7, [DOOR]: true });
    expect(obu.signals.get(ANGLE)).toMatchObject({ value: -7, source: 'app', stale: false });
    expect(await app.get([DOOR])).toMatchObject([{ value: true, source: 'app' }]);
    await expect(app.provide({ [ANGLE]: 1000, [DOOR]: false })).rejects.toEqual(code(ErrorCode.BadSignalValue));
    await expect(app.provide({ [DOOR]: false, 'Vehicle.Speed': 1 })).rejects.toEqual(code(ErrorCode.NotGranted));
    await expect(app.provide({ 'Vehicle.No': 1 })).rejects.toEqual(code(ErrorCode.UnknownSignal));
    expect(obu.signals.get(DOOR)?.value).toBe(true);
    await gateway.stop();
    expect(obu.signals.get(ANGLE)).toMatchObject({ value: -7, stale: true });
  });

  it('provides, reads and sets lists', async () => {
    await obu.close();
    obu = new HandObu(
      'Vehicle.Zones: { type: actuator, datatype: "uint8[]" }\nVehicle.Tags: { datatype: "string[]" }\n',
    );
    const { app } = await appWith('provide:Vehicle', 'actuate:Vehicle');
    await app.provide({ 'Vehicle.Zones': [1, 2], 'Vehicle.Tags': [] });
    expect(await app.get(['Vehicle.Zones', 'Vehicle.Tags'])).toMatchObject([{ value: [1, 2] }, { value: [] }]);
    for await (const [value] of app.signals(['Vehicle.Zones'])) {
      expect(value).toMatchObject({ value: [1, 2], source: 'app' });
      break;
    }
    await expect(app.provide({ 'Vehicle.Tags': [1] })).rejects.toEqual(code(ErrorCode.BadSignalValue));
    await expect(app.provide({ 'Vehicle.Tags': 'x' })).rejects.toEqual(code(ErrorCode.BadSignalValue));
    const asked: unknown[] = [];
    const body = obu.signals.openProvider('body');
    body.serve(['Vehicle.Zones'], async (path, value) => void asked.push([path, value]));
    await app.actuate('Vehicle.Zones', [7]);
    expect(asked).toEqual([['Vehicle.Zones', [7]]]);
  });

  it('actuates what it may, through whoever serves it', async () => {
    const { app } = await appWith('actuate:Vehicle.Cabin', 'read:Vehicle.Speed');
    await expect(app.actuate(DOOR, true)).rejects.toEqual(code(ErrorCode.NoActuationProvider));
    const doors = obu.signals.openProvider('doors');
    doors.serve([DOOR], async (path, value) => doors.provide([{ path, value }]));
    await expect(app.actuate(DOOR, true)).resolves.toMatchObject({ path: DOOR, value: true, source: 'doors' });
    await expect(app.actuate(DOOR, 5)).rejects.toEqual(code(ErrorCode.BadSignalValue));
    await expect(app.actuate('Vehicle.Speed', 5)).rejects.toMatchObject({
      code: ErrorCode.NotGranted,
      message: expect.stringContaining('x-obu.grants.signals: ["actuate:Vehicle.Speed"]'),
    });
    await expect(app.actuate('Vehicle.No', 5)).rejects.toEqual(code(ErrorCode.UnknownSignal));
  });

  it('hears that an actuation timed out, and can give it up', async () => {
    const { app } = await appWith('actuate:Vehicle.Cabin');
    obu.signals.openProvider('doors').serve([DOOR], () => new Promise(() => {}));
    await expect(app.actuate(DOOR, true, { timeoutMs: 20 })).rejects.toEqual(code(ErrorCode.ActuationTimedOut));
    const abort = new AbortController();
    const given = app.actuate(DOOR, true, { signal: abort.signal });
    abort.abort();
    await expect(given).rejects.toEqual(code(ErrorCode.Cancelled));
  });

  it('may have only so many actuations under way', async () => {
    const { app } = await appWith('actuate:Vehicle.Cabin');
    obu.signals.openProvider('doors').serve([DOOR], () => new Promise(() => {}));
    const all = Array.from({ length: 10 }, () => app.actuate(DOOR, true, { timeoutMs: 300 }));
    const results = await Promise.allSettled(all);
    const codes = results.map((one) => one.status === 'rejected' && one.reason.code);
    expect(codes.filter((one) => one === ErrorCode.TooManyRequests)).toHaveLength(2);
  });

  it('is not left waiting for an actuation when the OBU goes away and comes back', async () => {
    const { app, gateway, path } = await appWith('actuate:Vehicle.Cabin');
    obu.signals.openProvider('doors').serve([DOOR], () => new Promise(() => {}));
    const asked = app.actuate(DOOR, true, { timeoutMs: 60_000 });
    const lost = expect(asked).rejects.toMatchObject({
      code: ErrorCode.ConnectionLost,
      message: expect.stringContaining('whether it was set is not known'),
    });
    await app.get(['Vehicle.Cabin']);
    await gateway.stop();
    expect(await obu.serve(workload('app', { ...noGrants, signals: ['read:Vehicle'] }))).toMatchObject({ path });
    await lost;
  });
});
