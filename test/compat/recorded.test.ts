/** Clients of earlier versions, by their recorded bytes (README.md), against daemons of today. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as netConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { DelimitedReader, delimit } from '../../shared/protocol/framing.ts';
import { fieldsOf, replay, webSocketMessages } from '../support/conversation.ts';
import { DIGEST, HandObu } from '../support/gateway-parts.ts';
import { actInVehicle, type BrokerWorld, conversation, serveGateway, startBrokerWorld, TRUST } from './worlds.ts';

/** What every message of a server is made of, by field numbers. */
type Fields = ReturnType<typeof fieldsOf>;
const text = (value: string): Buffer => Buffer.from(value);
const inner = (fields: Fields, number: number): Fields => fieldsOf(fields[number]![0] as Buffer);
/** Of repeated messages. */
const all = (fields: Fields, number: number): Fields[] => fields[number]!.map((bytes) => fieldsOf(bytes as Buffer));
const aTime = expect.any(Number);

describe('V2E of version 1', () => {
  let folder: string;
  let world: BrokerWorld;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'kerb-compat-'));
    world = await startBrokerWorld(folder, TRUST);
  });
  afterAll(async () => {
    await world?.broker.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** What today's broker says to a recorded client. */
  async function answers(name: string): Promise<readonly Buffer[]> {
    const port = Number(new URL(world.broker.url).port);
    const options = { ...world.vehicleIdentity.clientOptions('rsu-1'), host: '127.0.0.1', port };
    const socket = tlsConnect(options);
    try {
      return await replay(conversation(name), socket, webSocketMessages());
    } finally {
      socket.destroy();
    }
  }
  /** An event or an acknowledgement: its header as v2e-parser.ts documents it, and its protobuf argument. */
  function packet(message: Buffer): { kind: number; name: string; id: number; fields: Fields } {
    const start = 6 + message[1]!;
    const [name, id] = [message.toString('latin1', 6, start), message.readUInt32LE(2)];
    return { kind: message[0]!, name, id, fields: fieldsOf(message.subarray(start)) };
  }
  let digest: string;

  test('a client that pushes a package: each piece is acknowledged, and every vehicle is told of the task', async () => {
    const [upgrade, opened, joined, ...rest] = await answers('v2e-1-push');
    expect(String(upgrade)).toMatch(/^HTTP\/1\.1 101 /);
    expect(String(opened)).toMatch(/^0\{"sid":"[^"]+".*"pingInterval":\d+,"pingTimeout":\d+/);
    expect(String(joined)).toMatch(/^40\{"sid":"[^"]+"/);
    const packets = rest.map(packet);
    const acknowledgements = packets.filter(({ kind }) => kind === 3);
    // Field 1 is the state, a number: 0 is "receiving", and 1, for the last piece, "stored".
    const states = [0, 0, 0, 0, 0, 0, 0, 0, 1];
    expect(acknowledgements.map(({ id, fields }) => [id, fields])).toEqual(
      states.map((state, i) => [i + 1, { 1: [state] }]),
    );
    const hellos = packets.filter(({ kind }) => kind === 2);
    expect(hellos.map(({ name, id }) => [name, id])).toEqual([
      ['hello', 0],
      ['hello', 0],
    ]);
    const [first, second] = hellos.map(({ fields }) => fields) as [Fields, Fields];
    expect(first).toMatchObject({ 1: [1], 2: [text('rsu-1')] });
    expect(first).not.toHaveProperty('3');
    expect(second).toMatchObject({ 1: [1], 2: [text('rsu-1')], 5: [65_536] });
    const offer = inner(second, 3);
    expect(offer).toMatchObject({ 2: [text('echo')], 3: [text('1')], 4: [65_536], 5: [65_536] });
    digest = String(offer[1]![0]);
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  test('a client that offloads: results, a result that is kept, and refusals with their codes', async () => {
    const [, , , hello, ...rest] = await answers('v2e-1-offload');
    expect(String(inner(packet(hello!).fields, 3)[1]![0])).toBe(digest);
    const replies = rest.map(packet);
    expect(replies.map(({ kind, id }) => [kind, id])).toEqual([1, 2, 3, 4, 5].map((id) => [3, id]));
    const [done, kept, ...refused] = replies.map(({ fields }) => fields) as [Fields, Fields, ...Fields[]];
    for (const reply of [done, kept]) {
      expect(reply).toMatchObject({ 1: [text('drive-1')], 4: [aTime] });
      expect(inner(reply, 2)).toMatchObject({
        ...{ 1: [text('echo of the road')], 2: [aTime], 3: [0.1], 4: [text('process')], 5: [text('rsu-1')] },
        ...{ 7: [0.05], 8: [16_384] },
      });
    }
    const refusals = refused.map((reply) => [String(reply[1]![0]), inner(reply, 3)[1]![0]]);
    expect(refusals).toEqual([
      ['drive-1', ErrorCode.BadOffloadRequest],
      ['drive-2', ErrorCode.IsolationUnavailable],
      ['drive-3', ErrorCode.GuestFault],
    ]);
    for (const reply of refused) expect(String(inner(reply, 3)[2]![0])).toMatch(/^[^\n]{10,300}$/);
  });
});

describe('the gateway of version 1', () => {
  test('a workload: each request is answered under its number', async () => {
    const obu = new HandObu();
    try {
      const socket = netConnect(await serveGateway(obu));
      const reader = new DelimitedReader();
      const said = (
        await replay(
          conversation('gateway-1'),
          socket,
          (chunk) => reader.push(chunk),
          (mark) => actInVehicle(obu, mark),
        )
      ).map(fieldsOf);
      socket.destroy();
      /** Messages for one request: each has one field besides the request's number, which says what it is. */
      const of = (request: number): [number, Fields][] =>
        said
          .filter((message) => message[1]![0] === request)
          .map((message) => {
            const [, [number, [bytes]]] = Object.entries(message) as [unknown, [string, [Buffer]]];
            return [Number(number), fieldsOf(bytes)];
          });
      const speed = (number: number) => ({ 1: [text('Vehicle.Speed')], 2: [aTime], 3: [number], 6: [text('can0')] });
      const accepted = [3, {}];

      const [[, welcome]] = of(1) as [[number, Fields]];
      expect(welcome).toMatchObject({ 1: [1], 2: [text('app')], 3: [text('car')], 4: [text('obu-1')] });
      const grants = inner(welcome, 5);
      const can = inner(grants, 1);
      expect(can).toMatchObject({ 1: [text('can0')], 2: [text('100:700')], 4: [text('socket')] });
      expect(inner(can, 3)).toMatchObject({ 1: [0x3e9], 3: [2] });
      expect(grants[2]).toEqual([text('read:Vehicle.Speed'), text('read:Vehicle.Chassis')]);
      expect(inner(grants, 3)).toMatchObject({ 1: [text('front')], 2: [10] });
      expect(inner(grants, 4)).toMatchObject({ 1: [text('dashcam-filter')], 2: [500] });

      const [acceptedCan, frames] = of(2) as [unknown, [number, Fields]];
      expect(acceptedCan).toEqual(accepted);
      expect(frames).toEqual([5, expect.objectContaining({ 1: [text('can0')] })]);
      const time = 1_700_000_000_123_456;
      expect(all(frames[1], 2)).toEqual([expect.objectContaining({ 1: [0x102], 3: [Buffer.of(1, 2, 3)], 4: [time] })]);

      const [acceptedSignals, ...values] = of(3);
      expect(acceptedSignals).toEqual(accepted);
      expect(values.map(([number]) => number)).toEqual([6, 6]);
      expect(values.map(([, one]) => inner(one, 1))).toMatchObject([speed(50), speed(51)]);

      const picture = { 1: [text('front')], 2: [7], 3: [5], 4: [1], 5: [4], 6: [1], 7: [Buffer.of(1, 2, 3, 4)] };
      expect(of(4)).toMatchObject([accepted, [7, picture]]);
      expect(of(5)).toEqual([accepted]);

      const [[kind, got]] = of(6) as [[number, Fields]];
      expect(kind).toBe(6);
      expect(inner(got, 1)).toMatchObject({ 1: [text('Vehicle.Chassis.SteeringWheel.Angle')], 3: [-3] });

      const [[doneKind, done]] = of(7) as [[number, Fields]];
      expect([doneKind, done[1], done[2]]).toEqual([8, [text('picture-1')], [text('pixels')]]);
      const receipt = { 1: [text('broker:rsu-1')], 2: [text(DIGEST)], 3: [text('process')], 4: [1], 5: [2], 6: [4] };
      expect(inner(done, 3)).toMatchObject(receipt);
      expect(obu.offloader.requests).toMatchObject([{ id: 'car/app/picture-1', taskDigest: DIGEST, priority: 700 }]);

      expect(of(8)).toEqual([accepted]);
      expect(obu.bus.sent).toMatchObject([{ id: 0x3e9, ext: false, data: Uint8Array.of(1, 2) }]);
      const failures = [9, 10, 11, 12].map((request) => of(request)[0]!);
      expect(failures.map(([number, failure]) => [number, failure[1]])).toEqual(
        [ErrorCode.CanWriteNotGranted, ErrorCode.NotGranted, ErrorCode.NotGranted, ErrorCode.NotGranted].map((code) => [
          4,
          [code],
        ]),
      );
    } finally {
      await obu.close();
    }
  });

  test.each([0, 2])(
    'a client of version %d is refused with both versions, and its connection ends',
    async (version) => {
      const obu = new HandObu();
      try {
        const socket = netConnect(await serveGateway(obu));
        const reader = new DelimitedReader();
        const said: Buffer[] = [];
        socket.on('data', (chunk: Buffer) => said.push(...reader.push(chunk)));
        const ended = once(socket, 'close');
        // ClientMessage { request: 1, hello: { version, client: "x" } }
        socket.write(delimit(Buffer.from([0x08, 1, 0x12, 5, 0x08, version, 0x12, 1, 0x78])));
        await ended;
        expect(said).toHaveLength(1);
        const message = fieldsOf(said[0]!);
        const failure = inner(message, 4);
        expect([message[1], failure[1]]).toEqual([[1], [ErrorCode.BadGatewayRequest]]);
        expect(String(failure[2]![0])).toMatch(new RegExp(`\\bversion 1\\b.*\\bversion ${version}\\b`));
      } finally {
        await obu.close();
      }
    },
  );
});
