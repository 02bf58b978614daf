import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { loadDbc } from '../obu/signals/dbc-parser.ts';
import { compileMessage } from '../obu/signals/message-codec.ts';
import { type Row, summarise } from './measure.ts';
import type { Say } from './tenders.ts';

const suite = 'obu';
const file = fileURLToPath(new URL('../../shared/data/can/Model3CAN.dbc', import.meta.url));

/** How many physical values per second of processor time come out of frames of a real car's database. */
export async function* decodeRate(say: Say): AsyncGenerator<Row> {
  const name = 'signals decoded, Model3CAN.dbc';
  if (!existsSync(file)) {
    yield { suite, name, absent: `${file} is not there` };
    return;
  }
  say('decoding every signal of Model3CAN.dbc');
  const { messages } = await loadDbc(file);
  const random = lcg(1);
  const inputs = messages.map((message) => ({
    codec: compileMessage(message),
    // Several of each, so that multiplexers select this and that.
    datas: Array.from({ length: 16 }, () => Uint8Array.from({ length: message.length }, () => random() & 0xff)),
  }));
  const rates: number[] = [];
  let sum = 0;
  for (let round = 0; round < 12; round++) {
    let decoded = 0;
    const before = process.cpuUsage();
    for (let turn = 0; turn < 10; turn++) {
      for (const { codec, datas } of inputs) {
        for (const data of datas) {
          for (const signal of codec.signals) {
            if (!signal.isPresent(data)) continue;
            sum += signal.physicalOf(data);
            decoded++;
          }
        }
      }
    }
    const { user, system } = process.cpuUsage(before);
    if (round >= 2) rates.push((decoded * 1e6) / (user + system));
    await sleep(0);
  }
  if (Number.isNaN(sum)) say('some of them are floats that are no number'); // and nobody can leave out the loop
  yield summarise(suite, name, 'signals/s per core', rates);
}

/** Numbers that are the same in each run. */
function lcg(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state >> 8;
  };
}
