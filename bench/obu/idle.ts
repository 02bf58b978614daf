import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../shared/base/errors.ts';
import { type Row, ratio, summarise, timeEach } from '../measure.ts';
import { type Memory, memoryOf, processorSeconds } from '../proc.ts';
import type { Say } from '../tenders.ts';
import { WholeObu } from './whole.ts';

const suite = 'obu';
const WORKLOADS = 10;
/** Until what the start left in the heap is collected. */
const SETTLE_MS = 20_000;
const WINDOW_MS = 20_000;
const WINDOWS = 3;
const APPLIES = 15;
const AT_ONCE = 10;
const parts: readonly { readonly part: keyof Memory; readonly what: string }[] = [
  { part: 'proportional', what: 'memory (PSS)' },
  { part: 'alone', what: 'memory if nobody else ran its program' },
  { part: 'anonymous', what: 'of that in no file' },
];

/** Memory and processor of a whole OBU whose workloads sleep, and how long a further workload takes to run. */
export async function* idleAndApply(say: Say): AsyncGenerator<Row> {
  const obu = new WholeObu();
  try {
    say(`starting an OBU with ${WORKLOADS} workloads`);
    try {
      await obu.start(WORKLOADS);
    } catch (error) {
      yield { suite, name: `OBU with ${WORKLOADS} workloads`, absent: messageOf(error) };
      return;
    }
    yield* idle(obu, say);
    yield* apply(obu, say);
  } finally {
    await obu.stop();
  }
}

async function* idle(obu: WholeObu, say: Say): AsyncGenerator<Row> {
  say(`idle: ${WINDOWS} times ${WINDOW_MS / 1000} s`);
  await sleep(SETTLE_MS);
  const engine = obu.engineProcesses();
  const parties = [
    { name: `OBU, idle, ${WORKLOADS} workloads`, pids: [obu.pid] },
    ...(engine.length > 0 ? [{ name: 'its Docker Engine (dockerd, containerd, shims)', pids: engine }] : []),
  ].map((party) => ({ ...party, memory: [] as number[][], cpu: [] as number[] }));
  const sum = (pids: readonly number[], of: (pid: number) => number) => pids.reduce((all, pid) => all + of(pid), 0);
  for (let window = 0; window < WINDOWS; window++) {
    const before = parties.map(({ pids }) => sum(pids, processorSeconds));
    const beginMs = performance.now();
    await sleep(WINDOW_MS);
    const seconds = (performance.now() - beginMs) / 1000;
    for (const [i, { pids, memory, cpu }] of parties.entries()) {
      cpu.push((100 * (sum(pids, processorSeconds) - before[i]!)) / seconds);
      const all = pids.map(memoryOf);
      const sumOf = (part: keyof Memory) => all.reduce((kib, one) => kib + one[part], 0);
      memory.push(parts.map(({ part }) => sumOf(part) / 1024));
    }
  }
  for (const { name, memory, cpu } of parties) {
    yield summarise(suite, `${name}: processor`, '% of a core', cpu);
    for (const [i, { what }] of parts.entries()) {
      yield summarise(
        suite,
        `${name}: ${what}`,
        'MiB',
        memory.map((one) => one[i]!),
      );
    }
  }
  if (engine.length === 0) {
    yield { suite, name: 'its Docker Engine', absent: "the engine that answers here is not the OBU's own" };
  }
}

async function* apply(obu: WholeObu, say: Say): AsyncGenerator<Row> {
  say(`one workload more, and docker run, ${APPLIES} times each, in turns`);
  const ways = [
    {
      name: 'docker run -d of the same image',
      once: (i: number) => obu.dockerRun(`bench-${i}`),
      undo: (i: number) => obu.dockerRemove(`bench-${i}`),
    },
    {
      name: 'manifest applied to workload running',
      once: () => obu.apply(WORKLOADS + 1),
      undo: () => obu.apply(WORKLOADS),
    },
    {
      name: `docker run -d, ${AT_ONCE} at once`,
      once: (i: number) => obu.dockerRunAll(manyNames(i)),
      undo: (i: number) => obu.dockerRemoveAll(manyNames(i)),
    },
    {
      name: `manifest applied to ${AT_ONCE} workloads running`,
      once: () => obu.apply(WORKLOADS + AT_ONCE),
      undo: () => obu.apply(WORKLOADS),
    },
    { name: 'kerb obu apply, whole', once: () => obu.applyByCommand(WORKLOADS + 1), undo: () => obu.apply(WORKLOADS) },
  ];
  const samples: number[][] = ways.map(() => []);
  for (let i = -1; i < APPLIES; i++) {
    for (const [way, { once, undo }] of ways.entries()) {
      const [ms] = await timeEach(1, 0, () => once(i));
      await undo(i);
      if (i >= 0) samples[way]!.push(ms!);
    }
  }
  const rows = ways.map(({ name }, way) => summarise(suite, name, 'ms', samples[way]!));
  yield* rows;
  const [docker, control, dockerAll, controlAll, command] = rows;
  yield ratio(control, docker, 'manifest applied / docker run')!;
  yield ratio(command, docker, 'kerb obu apply / docker run')!;
  yield ratio(controlAll, dockerAll, `${AT_ONCE} workloads / docker run of ${AT_ONCE} at once`)!;
}

const manyNames = (i: number) => Array.from({ length: AT_ONCE }, (_, one) => `bench-${i}-${one}`);
