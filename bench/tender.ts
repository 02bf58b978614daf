import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Isolation } from '../broker/tenders/process/tender.ts';
import { ErrorCode, isKerbError, messageOf } from '../shared/base/errors.ts';
import { type Measurement, type Row, ratio, summarise, timeEach } from './measure.ts';
import { runProgram } from './peers/process.ts';
import { coldPeers, coldStarts } from './tender-cold.ts';
import { resets } from './tender-reset.ts';
import {
  callWell,
  familyOf,
  makeTender,
  native,
  proportionalKib,
  type Say,
  TENDER_SUITE as suite,
  unikernels,
  withTender,
} from './tenders.ts';

const isolations = ['process', 'vm'] as const;
const sizes = [
  { bytes: 64, label: '64 B', n: 5000 },
  { bytes: 4096, label: '4 KiB', n: 5000 },
  { bytes: 65_536, label: '64 KiB', n: 3000 },
  { bytes: 1_048_576, label: '1 MiB', n: 500 },
  { bytes: 4_194_304, label: '4 MiB', n: 150 },
];
const BUDGET_MS = 20;
const OVERSHOOTS = 200;

/** The tender alone, Node to unikernel and back, in each isolation that this machine has; no network, no broker. */
export async function* tenderSuite(say: Say): AsyncGenerator<Row> {
  const found: Isolation[] = [];
  const medians = new Map<string, Row>();
  const keep = (row: Row): Row => {
    medians.set(row.name, row);
    return row;
  };
  for (const isolation of isolations) {
    const missing = await whyNot(isolation);
    if (missing !== undefined) {
      yield { suite, name: `isolation ${isolation}`, absent: missing };
      continue;
    }
    found.push(isolation);
    for await (const row of calls(isolation, say)) yield keep(row);
    for await (const row of coldStarts(isolation, say)) yield keep(row);
    yield* overshoot(isolation, say);
    yield* idleMemory(isolation, say);
  }
  if (found.includes('vm')) yield* resets(say);
  yield* bareFork(say, medians.get('process, call, 4 KiB'));
  for (const { bytes, label } of sizes) {
    const input = randomBytes(bytes);
    say(`spawned process, ${label}`);
    const once = () => runProgram(join(native, 'spawn-echo'), [], { input });
    const spawned = summarise(
      suite,
      `spawned process, ${label}`,
      'ms',
      await timeEach(bytes > 1e6 ? 60 : 200, 20, once),
    );
    yield keep(spawned);
    for (const isolation of found) {
      yield* known(
        ratio(spawned, medians.get(`${isolation}, call, ${label}`), `spawned process / ${isolation}, ${label}`),
      );
    }
  }
  const afterStart = function* (peer: Row): Generator<Measurement> {
    for (const isolation of found) {
      const cold = `${isolation}, cold start to first result`;
      yield* known(ratio(peer, medians.get(cold), `${peer.name} / ${cold}`));
    }
  };
  yield* afterStart(medians.get('spawned process, 4 KiB')!);
  for await (const peer of coldPeers(say)) {
    yield peer;
    yield* afterStart(peer);
  }
  for (const file of readdirSync(join(unikernels, 'tasks')).sort()) {
    if (!file.endsWith('.elf')) continue;
    const size = statSync(join(unikernels, 'tasks', file)).size / 1024;
    yield summarise(suite, `image of ${basename(file, '.elf')}`, 'KiB', [size]);
  }
}

function* known(row: Measurement | undefined): Generator<Measurement> {
  if (row !== undefined) yield row;
}

/** Measures the least that a process for each call costs on this machine, beside a call of the kept process. */
async function* bareFork(say: Say, call: Row | undefined): AsyncGenerator<Measurement> {
  say('fork, exit and wait');
  const { stdout } = await promisify(execFile)(join(native, 'fork-exit-wait'));
  const took = stdout
    .trim()
    .split('\n')
    .map((line) => Number(line) / 1000);
  const bare = summarise(suite, 'fork, exit and wait of a bare process', 'ms', took);
  yield bare;
  yield* known(ratio(bare, call, 'fork, exit and wait / process, call, 4 KiB'));
}

/** Undefined when the isolation works here. */
async function whyNot(isolation: Isolation): Promise<string | undefined> {
  return await withTender(makeTender(isolation), async () => undefined).catch(messageOf);
}

async function* calls(isolation: Isolation, say: Say): AsyncGenerator<Measurement> {
  const tender = makeTender(isolation);
  await tender.start();
  try {
    for (const { bytes, label, n } of sizes) {
      say(`${isolation}: ${n} calls of ${label}`);
      const input = randomBytes(bytes);
      const inside: number[] = [];
      const samples = await timeEach(n, Math.ceil(n / 10), async () => {
        const { output, runMs } = await callWell(tender, input);
        if (!input.equals(output)) throw new Error(`${label} came back changed`);
        inside.push(runMs);
      });
      yield summarise(suite, `${isolation}, call, ${label}`, 'ms', samples);
      yield summarise(suite, `${isolation}, of that inside the tender, ${label}`, 'ms', inside);
    }
  } finally {
    await tender.stop();
  }
}

/**
 * How long after its budget an endless loop was ended, as the tender saw it; or as Node saw it, where a tender got no
 * processor for so long that it was killed from outside.
 */
async function* overshoot(isolation: Isolation, say: Say): AsyncGenerator<Measurement> {
  say(`${isolation}: budget overshoot`);
  const samples: number[] = [];
  while (samples.length < OVERSHOOTS) {
    const loop = makeTender(isolation, { imagePath: join(unikernels, 'guests/loop.elf') });
    await withTender(loop, async (tender) => {
      while (samples.length < OVERSHOOTS && tender.state !== 'Dead') {
        const begin = performance.now();
        const end = await tender.call(new Uint8Array(), BUDGET_MS).catch((error: unknown) => {
          if (!isKerbError(error) || error.code !== ErrorCode.TenderDied) throw error;
        });
        if (end !== undefined && end.outcome !== 'deadline') throw new Error(`an endless loop ended as ${end.outcome}`);
        samples.push(Math.max(0, (end?.runMs ?? performance.now() - begin) - BUDGET_MS));
      }
    });
  }
  yield summarise(suite, `${isolation}, budget overshoot`, 'ms', samples);
}

/** Proportional memory of a waiting tender with all that belongs to it, beside 1, 10, 100 and 500 of its kind. */
async function* idleMemory(isolation: Isolation, say: Say): AsyncGenerator<Measurement> {
  const tenders: ReturnType<typeof makeTender>[] = [];
  const input = randomBytes(4096);
  try {
    for (const count of [1, 10, 100, 500]) {
      say(`${isolation}: ${count} waiting tenders`);
      while (tenders.length < count) {
        const tender = makeTender(isolation);
        tenders.push(tender);
        await tender.start();
      }
      const kib = tenders.map((tender) => familyOf(tender.pid!).reduce((sum, pid) => sum + proportionalKib(pid), 0));
      yield summarise(suite, `${isolation}, idle tender, ${count} waiting`, 'KiB', kib);
      const pick = (i: number) => callWell(tenders[(i * 7) % tenders.length]!, input);
      const name = `${isolation}, call, 4 KiB, ${count} waiting`;
      yield summarise(suite, name, 'ms', await timeEach(2000, Math.max(100, count), pick));
    }
  } finally {
    await Promise.all(tenders.map((tender) => tender.stop()));
  }
}
