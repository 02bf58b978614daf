/** A workload that reports what it can do from inside its container, as JSON in /data. The test chooses what by MODE. */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { connect, isKerbError } from '@kerbside/app-sdk';

process.on('SIGTERM', () => process.exit(0));

function report(name: string, value: unknown): void {
  writeFileSync(`/data/${name}.part`, JSON.stringify(value));
  renameSync(`/data/${name}.part`, `/data/${name}.json`);
  console.log(`reported ${name}`);
}

async function first<T>(stream: AsyncIterable<T>): Promise<T> {
  for await (const item of stream) return item;
  throw new Error('the stream ended');
}

/** The refusal or the error of something that should not work; null when it worked. */
async function refusal(attempt: () => unknown): Promise<unknown> {
  try {
    await attempt();
    return null;
  } catch (error) {
    if (isKerbError(error)) return { code: error.code, message: error.message };
    return { code: (error as NodeJS.ErrnoException).code ?? 'Error', message: String(error) };
  }
}

/** What `kuksa.val.v2` says of Vehicle.Speed, asked as a program with no library of ours would: by HTTP/2. */
async function kuksaSpeed(token: string): Promise<unknown> {
  const path = 'Vehicle.Speed';
  // GetValueRequest { signal_id: { path } }, with gRPC's five bytes in front.
  const message = Buffer.concat([Buffer.of(10, path.length + 2, 18, path.length), Buffer.from(path)]);
  const socket = new URL(process.env.KUKSA_ADDRESS!).pathname;
  const session = connectHttp2('http://obu', { createConnection: () => connectSocket(socket) });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/kuksa.val.v2.VAL/GetValue',
    te: 'trailers',
    'content-type': 'application/grpc',
    authorization: `Bearer ${token}`,
  });
  let status: unknown;
  const take = (headers: Record<string, unknown>) => {
    status = headers['grpc-status'] ?? status;
  };
  stream.on('response', take).on('trailers', take);
  stream.end(Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]));
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  session.close();
  const body = Buffer.concat(chunks);
  // The value is the last field, a float.
  return { status: String(status), value: body.length > 9 ? body.readFloatLE(body.length - 4) : null };
}

/** Waits without end; a pending promise alone would not keep the process. */
const idle = () => new Promise<never>(() => setInterval(() => {}, 60_000));

const modes: Record<string, () => Promise<void>> = {
  async read() {
    const obu = await connect();
    const { frames } = await first(obu.can({ bus: 'can0' }));
    const filtered = await first(obu.can({ bus: 'can0', filters: ['122:7FF'] }));
    const values = await first(obu.signals(['Vehicle.Speed']));
    const kuksa = await kuksaSpeed(readFileSync(process.env.KUKSA_TOKEN_FILE!, 'utf8'));
    const kuksaRefused = await kuksaSpeed('another-token');
    const got = await obu.get(['Vehicle.Speed']);
    const fan = 'Vehicle.Cabin.HVAC.Station.Row1.Driver.FanSpeed';
    const actuated = await obu.actuate(fan, 40);
    const picture = await first(obu.camera('front', { format: 'gray8', width: 64, height: 48 }));
    report('read', {
      identity: [obu.vehicle, obu.obu, obu.workload],
      ids: [...new Set(frames.map(({ id }) => id))],
      filteredIds: [...new Set(filtered.frames.map(({ id }) => id))],
      frame: { data: [...filtered.frames[0]!.data], timeUs: filtered.frames[0]!.timeUs },
      values,
      got,
      kuksa,
      kuksaRefused,
      actuated,
      picture: { ...picture, data: [Math.min(...picture.data), Math.max(...picture.data)], bytes: picture.data.length },
    });
    await idle();
  },
  async write() {
    const obu = await connect();
    const data = Uint8Array.of(1, 2);
    await obu.sendCan('can0', [{ id: 0x3e9, data }]);
    report('write', {
      grants: obu.grants.can,
      length: await refusal(() => obu.sendCan('can0', [{ id: 0x3e9, data: Uint8Array.of(1) }])),
      id: await refusal(() => obu.sendCan('can0', [{ id: 0x3ea, data }])),
      rate: await refusal(() => obu.sendCan('can0', [{ id: 0x3e9, data }])),
    });
    await idle();
  },
  async refused() {
    const obu = await connect();
    report('refused', {
      can: await refusal(() => first(obu.can({ bus: 'can0' }))),
      signals: await refusal(() => first(obu.signals(['Vehicle.Speed']))),
      camera: await refusal(() => first(obu.camera('front'))),
      offload: await refusal(() => obu.offload('dashcam-filter', new Uint8Array(1), { budgetMs: 10_000 })),
    });
    await idle();
  },
  async confined() {
    const status = readFileSync('/proc/self/status', 'utf8');
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
    report('confined', {
      uid: process.getuid?.(),
      capabilities: [field('CapEff'), field('CapPrm'), field('CapBnd')],
      noNewPrivileges: field('NoNewPrivs'),
      interfaces: Object.keys(networkInterfaces()).filter((name) => name !== 'lo'),
      root: await refusal(() => writeFileSync('/app/x', '')),
      gateway: await refusal(() => writeFileSync('/run/kerbside/x', '')),
      tmp: await refusal(() => writeFileSync('/tmp/x', '')),
      memory: readFileSync('/proc/self/cgroup', 'utf8').length > 0,
    });
    await idle();
  },
  /** Goes on counting signal values through restarts of the OBU. */
  async follow() {
    const obu = await connect();
    let count = 0;
    for await (const values of obu.signals(['Vehicle.Speed'], { minIntervalMs: 100 })) {
      count += values.length;
      report('follow', { count, pid: process.pid, timeUs: values.at(-1)!.timeUs });
    }
  },
  /** Goes on until its grant is taken away, and says why that was. */
  async 'until-revoked'() {
    const obu = await connect();
    const end = await refusal(async () => {
      for await (const _values of obu.signals(['Vehicle.Speed'])) report('until-revoked', { open: true });
    });
    report('until-revoked', { open: false, end });
    await idle();
  },
  async fail() {
    appendFileSync('/data/starts', 'x');
    console.log('about to fail');
    process.exit(3);
  },
  async 'eat-memory'() {
    const eaten: Buffer[] = [];
    for (;;) eaten.push(Buffer.alloc(16 * 1024 * 1024, 1));
  },
};

await modes[process.env.MODE ?? '']!();
