/** Integers of 64 bits on every way between workloads: the SDK, and Kuksa's interface. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connect, type LeafValue, type Obu } from '../../shared/app-sdk/index.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { HandObu, noGrants, workload } from '../../test/support/gateway-parts.ts';
import { TestClient } from '../../test/support/kuksa-client.ts';

const SERIAL = 'Vehicle.Serial';
const DEPTH = 'Vehicle.Depth';
const LEAVES = `
${SERIAL}: { type: actuator, datatype: uint64, max: 18446744073709551615 }
Vehicle.Area: { type: actuator, datatype: double, max: 1.7e308 }
Vehicle.Areas: { type: actuator, datatype: 'float[]' }
${DEPTH}: { datatype: int64, allowed: [-9223372036854775808, 9007199254740993, 5] }
`;

/** The largest, the first beyond a double's integers, that below it, and a small one. */
const unsigned = [2n ** 64n - 1n, 2n ** 53n + 1n, 2 ** 53 - 1, 7] as const;
const signed = [-(2n ** 63n), 2n ** 53n + 1n, 5] as const;

let obu: HandObu;
let app: Obu;
let kuksa: TestClient;

beforeEach(async () => {
  obu = new HandObu(LEAVES);
  const { path } = await obu.serve(
    workload('app', { ...noGrants, signals: ['provide:Vehicle', 'actuate:Vehicle', 'read:Vehicle'] }),
  );
  app = await connect({ path });
  kuksa = new TestClient(path);
});

afterEach(async () => {
  app.close();
  kuksa.close();
  await obu.close();
});

const at = (path: string) => ({ signalId: { path } });
const onKuksa = async (path: string) => (await kuksa.call('GetValue', at(path))).dataPoint.value;

it('come back from the SDK as they were provided, and on Kuksa with all digits', async () => {
  for (const value of unsigned) {
    await app.provide({ [SERIAL]: value });
    expect(await app.get([SERIAL])).toMatchObject([{ value }]);
    expect(String((await onKuksa(SERIAL)).uint64)).toBe(String(value));
  }
  for (const value of signed) {
    await app.provide({ [DEPTH]: value });
    expect(await app.get([DEPTH])).toMatchObject([{ value }]);
    expect(String((await onKuksa(DEPTH)).int64)).toBe(String(value));
  }
});

it('come from Kuksa with all digits, and are numbers where a number holds them', async () => {
  for (const value of unsigned) {
    const wide = {
      low: Number(BigInt(value) & 0xffffffffn) | 0,
      high: Number(BigInt(value) >> 32n) | 0,
      unsigned: true,
    };
    await kuksa.call('PublishValue', { ...at(SERIAL), dataPoint: { value: { uint64: wide } } });
    expect(await app.get([SERIAL])).toMatchObject([{ value }]);
  }
});

it('reach a subscription, and a bigint that a number holds is one', async () => {
  const seen: LeafValue[] = [];
  await app.provide({ [SERIAL]: 5n });
  for await (const [value] of app.signals([SERIAL], { onChange: true })) {
    seen.push(value!.value);
    if (seen.length === 2) break;
    await app.provide({ [SERIAL]: 2n ** 64n - 1n });
  }
  expect(seen).toEqual([5, 2n ** 64n - 1n]);
});

it('are floats and doubles that have all of their digits, in lists too', async () => {
  const asked: LeafValue[] = [];
  const provider = obu.signals.openProvider('unit');
  provider.serve(['Vehicle.Area'], async (_path, value) => void asked.push(value));
  // 10^22 is the largest power of ten that a double holds: 5^22 is below 2^53.
  for (const [given, value] of [
    [5n, 5],
    [-(2n ** 60n), -(2 ** 60)],
    [10n ** 22n, 1e22],
  ] as const) {
    await app.provide({ 'Vehicle.Area': given, 'Vehicle.Speed': given, 'Vehicle.Areas': [given, 1.5] });
    expect((await app.get(['Vehicle.Area', 'Vehicle.Areas', 'Vehicle.Speed'])).map((one) => one.value)).toEqual([
      ...[value, [value, 1.5], value],
    ]);
    await app.actuate('Vehicle.Area', given);
    expect(asked.at(-1)).toBe(value);
  }
  await expect(app.actuate('Vehicle.Area', 2n ** 53n + 1n)).rejects.toMatchObject({ code: ErrorCode.BadSignalValue });
  expect(asked).toHaveLength(3);
});

it('actuate with all digits', async () => {
  const asked: LeafValue[] = [];
  const provider = obu.signals.openProvider('unit');
  provider.serve([SERIAL], async (path, value) => {
    asked.push(value);
    provider.provide([{ path, value }]);
  });
  await expect(app.actuate(SERIAL, 2n ** 64n - 1n)).resolves.toMatchObject({ value: 2n ** 64n - 1n });
  await kuksa.call('Actuate', { ...at(SERIAL), value: { uint64: { low: 1, high: 0x200000, unsigned: true } } });
  expect(asked).toEqual([2n ** 64n - 1n, 2n ** 53n + 1n]);
});

it.each<[string, LeafValue]>([
  [SERIAL, 2n ** 64n],
  [SERIAL, -1n],
  [SERIAL, -1],
  [SERIAL, 2 ** 60],
  [SERIAL, 1.5],
  [SERIAL, '5'],
  [DEPTH, 2n ** 63n],
  [DEPTH, 6n],
  ['Vehicle.Speed', 2n ** 60n + 1n],
  ['Vehicle.Speed', 2n ** 200n],
  ['Vehicle.Area', 2n ** 53n + 1n],
  ['Vehicle.Area', -(10n ** 23n)],
  ['Vehicle.Areas', [1n, 2n ** 53n + 1n]],
  ['Vehicle.Speed', 1e39],
  ['Vehicle.Speed', Number.POSITIVE_INFINITY],
  ['Vehicle.Cabin.Door.IsOpen', 2n ** 60n],
])('%s is not %s', async (path, value) => {
  await expect(app.provide({ [path]: value })).rejects.toMatchObject({ code: ErrorCode.BadSignalValue });
});

it('has limits and allowed values with all digits in its metadata', async () => {
  const { metadata } = await kuksa.call('ListMetadata', { root: 'Vehicle' });
  const of = (path: string) => metadata.find((one: { path: string }) => one.path === path);
  expect(String(of(SERIAL).max.uint64)).toBe('18446744073709551615');
  expect(of(DEPTH).allowedValues.int64Array.values.map(String)).toEqual(signed.map(String));
});
