import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CanRouter } from '../../obu/can/router.ts';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { loadVssMapping } from '../../shared/vss/vss-mapping.ts';
import { HandBus } from '../../test/support/gateway-parts.ts';
import { type Row, summarise } from '../measure.ts';
import type { Say } from '../tenders.ts';

const suite = 'obu';
const file = fileURLToPath(new URL('../../../shared/data/can/Model3CAN.dbc', import.meta.url));

/** How many physical values per second of processor time come out of frames of a real car's database. */
export async function* decodeRate(say: Say): AsyncGenerator<Row> {
  const name = 'signals decoded, Model3CAN.dbc';
  if (!existsSync(file)) {
    yield { suite, name, absent: `${file} is not there` };
    return;
  }
  say('decoding every signal of Model3CAN.dbc');
  const dbc = await loadDbc(file);
  const { messages } = dbc;
  const random = lcg(1);
  const inputs = messages.map((message) => ({
    codec: compileMessage(message),
    // Several of each, so that multiplexers select this and that.
    datas: Array.from({ length: 16 }, () => Uint8Array.from({ length: message.length }, () => random() & 0xff)),
  }));
  let sum = 0;
  const rates = await perCore(() => {
    let decoded = 0;
    for (const { codec, datas } of inputs) {
      for (const data of datas) {
        for (const signal of codec.signals) {
          if (!signal.isPresent(data)) continue;
          sum += Number(signal.physicalOf(data)); // of 64-bit signals a bigint, now and then
          decoded++;
        }
      }
    }
    return decoded;
  });
  if (Number.isNaN(sum)) say('some of them are floats that are not numbers'); // and nobody can leave out the loop
  yield summarise(suite, name, 'signals/s per core', rates);

  say('the same through router and signal store, every signal mapped and subscribed to');
  const bus = new HandBus();
  const router = new CanRouter(bus);
  router.start();
  const names = new Set(messages.flatMap((message) => message.signals.map((signal) => signal.name)));
  const store = new SignalStore([{ router, dbcs: [dbc] }], await mappingOf([...names]));
  store.start();
  let values = 0;
  store.subscribe(new Set(store.paths()), (some) => {
    values += some.length;
  });
  const frames = inputs.flatMap(({ codec: { message }, datas }) =>
    datas.map((data) => dataFrame(message.id, data, { ext: message.ext })),
  );
  const [deliver] = bus.listeners;
  const through = await perCore(() => {
    const before = values;
    for (const frame of frames) deliver!(frame);
    return values - before;
  });
  yield summarise(suite, `${name}, to VSS values at a subscriber`, 'values/s per core', through);
  store.stop();
}

/** @param turn returns how many it did @returns how many per second of processor time, of ten rounds after two */
async function perCore(turn: () => number): Promise<number[]> {
  const rates: number[] = [];
  for (let round = 0; round < 12; round++) {
    let done = 0;
    const before = process.cpuUsage();
    for (let i = 0; i < 10; i++) done += turn();
    const { user, system } = process.cpuUsage(before);
    if (round >= 2) rates.push((done * 1e6) / (user + system));
    await sleep(0);
  }
  return rates;
}

/** A mapping file that has a path for each signal. */
async function mappingOf(signals: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'kerb-bench-vss-'));
  try {
    const path = join(folder, 'all.json');
    const leaves = signals.map((signal, i) => [
      `Vehicle.Bench.Signal${i}`,
      { type: 'sensor', datatype: 'double', dbc2vss: { signal, interval_ms: 0 } },
    ]);
    writeFileSync(path, JSON.stringify(Object.fromEntries(leaves)));
    return await loadVssMapping(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Numbers that are the same in each run. */
function lcg(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state >> 8;
  };
}
