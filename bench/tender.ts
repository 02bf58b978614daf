import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Isolation } from '../broker/tenders/tender.ts';
import { TenderProcess } from '../broker/tenders/tender-process.ts';
import { messageOf } from '../shared/errors.ts';
import { silentLog } from '../shared/log.ts';
import { type Measurement, summarise, timeEach } from './measure.ts';
import { runProgram } from './peers/process.ts';

const suite = 'tender';
const unikernels = fileURLToPath(new URL('../build/unikernel/', import.meta.url));
const native = fileURLToPath(new URL('../build/bench/', import.meta.url));
const echo = join(unikernels, 'tasks/echo.elf');
const sizes = [
  { bytes: 64, label: '64 B', n: 5000 },
  { bytes: 4096, label: '4 KiB', n: 5000 },
  { bytes: 65_536, label: '64 KiB', n: 3000 },
  { bytes: 1_048_576, label: '1 MiB', n: 500 },
  { bytes: 4_194_304, label: '4 MiB', n: 150 },
];
const BUDGET_MS = 20;

/** The tender alone, Node to unikernel and back, in each isolation that this machine has; no network, no broker. */
export async function* tenderSuite(say: (text: string) => void): AsyncGenerator<Measurement> {
  for (const isolation of ['process', 'vm'] as const) {
    const missing = await whyNot(isolation);
    if (missing !== undefined) {
      say(`isolation ${isolation} is left out: ${missing}`);
      continue;
    }
    yield* calls(isolation, say);
    yield* coldStart(isolation, say);
    yield* overshoot(isolation, say);
    yield* idleMemory(isolation, say);
  }
  for (const { bytes, label } of sizes) {
    const input = randomBytes(bytes);
    say(`spawned process, ${label}`);
    const once = () => runProgram(join(native, 'spawn-echo'), [], input);
    yield summarise(suite, `spawned process, ${label}`, 'ms', await timeEach(200, 20, once));
  }
  for (const file of readdirSync(join(unikernels, 'tasks')).sort()) {
    if (!file.endsWith('.elf')) continue;
    const size = statSync(join(unikernels, 'tasks', file)).size / 1024;
    yield summarise(suite, `image of ${basename(file, '.elf')}`, 'KiB', [size]);
  }
}

/** Undefined when the isolation works here. */
async function whyNot(isolation: Isolation): Promise<string | undefined> {
  const tender = makeTender(isolation);
  try {
    await tender.start();
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    await tender.stop();
  }
}

function makeTender(isolation: Isolation, imagePath = echo): TenderProcess {
  return new TenderProcess({ imagePath, log: silentLog(), isolation });
}

async function* calls(isolation: Isolation, say: (text: string) => void): AsyncGenerator<Measurement> {
  const tender = makeTender(isolation);
  await tender.start();
  try {
    for (const { bytes, label, n } of sizes) {
      say(`${isolation}: ${n} calls of ${label}`);
      const input = randomBytes(bytes);
      const inside: number[] = [];
      const samples = await timeEach(n, Math.ceil(n / 10), async () => {
        const end = await tender.call(input, 10_000);
        if (end.outcome !== 'done' || !input.equals(end.output)) throw new Error(`a call ended as ${end.outcome}`);
        inside.push(end.runMs);
      });
      yield summarise(suite, `${isolation}, call, ${label}`, 'ms', samples);
      yield summarise(suite, `${isolation}, of that inside the tender, ${label}`, 'ms', inside);
    }
  } finally {
    await tender.stop();
  }
}

/** From the image to the first result of 4 KiB: with a blank tender waiting, as a broker has, and from no process at all. */
async function* coldStart(isolation: Isolation, say: (text: string) => void): AsyncGenerator<Measurement> {
  say(`${isolation}: cold start`);
  const input = randomBytes(4096);
  const rows = { 'a blank tender': [] as number[], nothing: [] as number[] };
  for (let i = 0; i < 60; i++) {
    for (const [from, samples] of Object.entries(rows)) {
      const tender = makeTender(isolation);
      if (from !== 'nothing') await tender.prepare();
      const begin = performance.now();
      await tender.start();
      await tender.call(input, 10_000);
      samples.push(performance.now() - begin);
      await tender.stop();
    }
  }
  for (const [from, samples] of Object.entries(rows)) {
    yield summarise(suite, `${isolation}, cold start to first result, from ${from}`, 'ms', samples.slice(10));
  }
}

/** How long after its budget an endless loop was ended, as the tender saw it. */
async function* overshoot(isolation: Isolation, say: (text: string) => void): AsyncGenerator<Measurement> {
  say(`${isolation}: budget overshoot`);
  const tender = makeTender(isolation, join(unikernels, 'guests/loop.elf'));
  await tender.start();
  try {
    const samples: number[] = [];
    for (let i = 0; i < 200; i++) {
      const end = await tender.call(new Uint8Array(), BUDGET_MS);
      if (end.outcome !== 'deadline') throw new Error(`an endless loop ended as ${end.outcome}`);
      samples.push(Math.max(0, end.runMs - BUDGET_MS));
    }
    yield summarise(suite, `${isolation}, budget overshoot`, 'ms', samples);
  } finally {
    await tender.stop();
  }
}

/** Proportional memory of a waiting tender with all that belongs to it, beside 1, 10, 100 and 500 of its kind. */
async function* idleMemory(isolation: Isolation, say: (text: string) => void): AsyncGenerator<Measurement> {
  const tenders: TenderProcess[] = [];
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
    }
    say(`${isolation}: a call while 500 wait`);
    const input = randomBytes(4096);
    const pick = (i: number) => tenders[(i * 7) % tenders.length]!.call(input, 10_000);
    yield summarise(suite, `${isolation}, call, 4 KiB, 500 waiting`, 'ms', await timeEach(2000, 500, pick));
  } finally {
    await Promise.all(tenders.map((tender) => tender.stop()));
  }
}

function familyOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))];
}

/** Pss of /proc/PID/smaps_rollup (man 5 proc), KiB. Reading another user's takes root. */
function proportionalKib(pid: number): number {
  const found = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  if (!found) throw new Error(`/proc/${pid}/smaps_rollup shows no Pss`);
  return Number(found[1]);
}
