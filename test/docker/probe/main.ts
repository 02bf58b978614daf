/** A workload that reports what it can do from inside its container, as JSON in /data. The test chooses what by MODE. */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
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

/** Waits without end; a pending promise alone would not keep the process. */
const idle = () => new Promise<never>(() => setInterval(() => {}, 60_000));

const modes: Record<string, () => Promise<void>> = {
  async read() {
    const obu = await connect();
    const { frames } = await first(obu.can({ bus: 'can0' }));
    const filtered = await first(obu.can({ bus: 'can0', filters: ['122:7FF'] }));
    const values = await first(obu.signals(['Vehicle.Speed']));
    const picture = await first(obu.camera('front', { format: 'gray8', width: 64, height: 48 }));
    report('read', {
      identity: [obu.vehicle, obu.obu, obu.workload],
      ids: [...new Set(frames.map(({ id }) => id))],
      filteredIds: [...new Set(filtered.frames.map(({ id }) => id))],
      frame: { data: [...filtered.frames[0]!.data], timeUs: filtered.frames[0]!.timeUs },
      values,
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
      offload: await refusal(() => obu.offload('dashcam-filter', new Uint8Array(1), { budgetMs: 100 })),
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
