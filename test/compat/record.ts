/**
 * Records what clients of today say to daemons of today, for daemons to come (README.md):
 *
 *     npx node test/compat/record.ts
 *
 * It writes only files that are not there: a conversation of an older version stays as it was.
 */
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { connect } from '../../shared/app-sdk/index.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { silentLog } from '../../shared/base/log.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { DelimitedReader } from '../../shared/protocol/framing.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { type ConversationRecord, type Cut, webSocketMessages, writeConversation } from '../support/conversation.ts';
import { fakeImage } from '../support/fake-image.ts';
import { HandObu } from '../support/gateway-parts.ts';
import { until } from '../support/until.ts';
import { actInVehicle, conversationFile, serveGateway, startBrokerWorld, TRUST } from './worlds.ts';

/** Long after anybody replays this. */
const VALID_DAYS = 36_500;

/** Notes both directions of one connection. */
function note(records: ConversationRecord[], client: Duplex, server: Duplex, cut: Cut): void {
  client.on('data', (bytes: Buffer) => {
    records.push({ kind: 'C', bytes });
    server.write(bytes);
  });
  server.on('data', (bytes: Buffer) => {
    for (const message of cut(bytes)) records.push({ kind: 'S', bytes: Buffer.from(message) });
    client.write(bytes);
  });
  for (const [one, other] of [
    [client, server],
    [server, client],
  ] as const) {
    one.on('error', () => {});
    one.on('close', () => other.destroy());
  }
}

async function listening(server: Server, where: string | number): Promise<Server> {
  await new Promise<void>((resolve) => server.listen(where as number, resolve));
  return server;
}

function save(name: string, records: readonly ConversationRecord[]): void {
  const file = conversationFile(name);
  if (existsSync(file)) console.log(`${file} is there already`);
  else writeFileSync(file, writeConversation(records));
}

async function recordV2e(folder: string): Promise<void> {
  const signer = await createSigner(join(folder, 'signer'), 'maker');
  if (!existsSync(TRUST)) cpSync(join(folder, 'signer', 'public'), TRUST, { recursive: true });
  const world = await startBrokerWorld(join(folder, 'world'), join(folder, 'signer', 'public'));
  const { broker, brokerIdentity, vehicleIdentity } = world;
  let records: ConversationRecord[] = [];
  const proxy = createTlsServer(brokerIdentity.serverOptions(), (client) => {
    const options = {
      ...vehicleIdentity.clientOptions('rsu-1'),
      host: '127.0.0.1',
      port: Number(new URL(broker.url).port),
    };
    note(records, client, tlsConnect(options), webSocketMessages());
  });
  await listening(proxy, 0);
  const url = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  try {
    const dir = join(folder, 'package');
    const digest = await buildTaskPackage(dir, { images: [fakeImage()], version: '1', isolation: 'any' });
    await signTaskPackage(await readTaskPackage(dir), signer, VALID_DAYS);
    const pusher = new BrokerClient({ url, identity: vehicleIdentity, brokerId: 'rsu-1' });
    await pusher.connect();
    await pusher.push(digest, await readPackageFiles(await readTaskPackage(dir)));
    pusher.close();
    save('v2e-1-push', records);

    records = [];
    const target = { id: 'rsu-1', url };
    const offloader = new BrokerOffloader({
      ...{ brokers: [target], identity: fixedIdentity(vehicleIdentity), log: silentLog() },
    });
    await offloader.start();
    await until('the broker says hello', () => offloader.offers().length === 1);
    const wish = { taskDigest: digest, priority: 500, isolation: 'any' as const };
    const ask = (one: { id: string; input: Buffer; isolation?: 'vm' }) =>
      offloader.offload({ ...wish, ...one, deadline: new Deadline(3_600_000) });
    const input = Buffer.from('echo of the road');
    await ask({ id: 'drive-1', input });
    await ask({ id: 'drive-1', input });
    const refused = [
      { id: 'drive-1', input: Buffer.from('extra') },
      { id: 'drive-2', input, isolation: 'vm' as const },
      { id: 'drive-3', input: Buffer.from('fault') },
    ];
    for (const one of refused) await ask(one).catch(() => undefined);
    await offloader.stop();
    save('v2e-1-offload', records);
  } finally {
    proxy.close();
    await broker.stop();
  }
}

async function recordGateway(folder: string): Promise<void> {
  const obu = new HandObu();
  const gateway = await serveGateway(obu);
  const records: ConversationRecord[] = [];
  const reader = new DelimitedReader();
  const path = join(folder, 'gateway.sock');
  const proxy = createServer((client: Socket) =>
    note(records, client, netConnect(gateway), (bytes) => reader.push(bytes)),
  );
  await listening(proxy, path as never);
  const mark = (word: string) => {
    records.push({ kind: 'M', bytes: Buffer.from(word) });
    actInVehicle(obu, word);
  };
  try {
    const app = await connect({ path });
    const frames = app.can({ bus: 'can0', filters: ['102:7FF'] })[Symbol.asyncIterator]();
    const signals = app.signals(['Vehicle.Speed'])[Symbol.asyncIterator]();
    const pictures = app.camera('front', { format: 'gray8', width: 4, height: 1 })[Symbol.asyncIterator]();
    await signals.next();
    await until('the camera is taken', () => obu.camera.consumers.size === 1);
    mark('can');
    await frames.next();
    mark('speed');
    await signals.next();
    mark('picture');
    await pictures.next();
    await frames.return?.();
    await app.get(['Vehicle.Chassis']);
    await app.offload('dashcam-filter', Buffer.from('pixels'), { budgetMs: 400, id: 'picture-1' });
    const frame = { id: 0x3e9, data: Uint8Array.of(1, 2) };
    await app.sendCan('can0', [frame]);
    await app.sendCan('can0', [{ ...frame, id: 0x3ea }]).catch(() => undefined);
    await app.get(['Vehicle.Cabin.Door.IsOpen']).catch(() => undefined);
    await app.actuate('Vehicle.Cabin.Door.IsOpen', true).catch(() => undefined);
    await app.provide({ 'Vehicle.Speed': 1 }).catch(() => undefined);
    app.close();
    save('gateway-1', records);
  } finally {
    proxy.close();
    await obu.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'kerb-record-'));
try {
  await recordV2e(folder);
  await recordGateway(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
