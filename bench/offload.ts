import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { messageOf } from '../shared/base/errors.ts';
import { BenchBroker } from './broker/bench-broker.ts';
import { largePayloads } from './large-payloads.ts';
import { type Row, ratio, saturate, summarise, timeEach, timeInTurns, type Way } from './measure.ts';
import { DockerRun } from './peers/docker-run.ts';
import { runProgram } from './peers/process.ts';
import { SocketIoEcho } from './peers/socketio-echo.ts';
import { native, type Say } from './tenders.ts';

const suite = 'offload';
const sizes = [
  { bytes: 64, label: '64 B', n: 5000 },
  { bytes: 4096, label: '4 KiB', n: 5000 },
  { bytes: 65_536, label: '64 KiB', n: 2000 },
  { bytes: 1_048_576, label: '1 MiB', n: 300 },
];
const SATURATION = { ms: 4000, turns: 3, concurrency: 32 };

const OFFLOAD = 'offload';
const FLOOR = 'socket.io echo, same TLS (the floor)';
const FRAMED = 'socket.io echo with the parser of V2E';
const SPAWNED = 'spawned process';
const DOCKER = 'docker run, warm image';

/**
 * The whole way of one offload over loopback (offloader → socket.io over mutual TLS → broker → tender → unikernel and
 * back), and beside it the ways that others would run the same function, with the same bytes.
 */
export async function* offloadSuite(say: Say): AsyncGenerator<Row> {
  say('starting a broker, two socket.io echoes and a Docker Engine');
  const undo: { stop(): Promise<void> }[] = [];
  try {
    const broker = new BenchBroker();
    undo.push(broker);
    await broker.start('echo');
    const floor = await SocketIoEcho.start(broker.identities, broker.brokerId, 'common');
    undo.push(floor);
    const framed = await SocketIoEcho.start(broker.identities, broker.brokerId, 'v2e');
    undo.push(framed);
    let noDocker = '';
    const docker = await DockerRun.start(join(native, 'spawn-echo')).catch((error: unknown) => {
      noDocker = messageOf(error);
    });
    if (docker !== undefined) undo.push(docker);

    for (const { bytes, label, n } of sizes) {
      const input = randomBytes(bytes);
      const queue: number[] = [];
      const run: number[] = [];
      const way = (name: string, count: number, call: () => Promise<Uint8Array>): Way => ({
        name,
        n: count,
        once: async () => {
          // Compared whole: a wrong answer is not to be measured as a quick one.
          if (Buffer.compare(input, await call()) !== 0) throw new Error(`${name}, ${label} came back changed`);
        },
      });
      const ways = [
        way(OFFLOAD, n, async () => {
          const { output, queueMs, runMs } = await broker.call(input);
          queue.push(queueMs);
          run.push(runMs);
          return output;
        }),
        way(FLOOR, n, () => floor.echo(input)),
        way(FRAMED, n, () => framed.echo(input)),
      ];
      say(`${label}: ${ways.map(({ name }) => name).join('; ')}: ${n} times each, in turns`);
      const samples = await timeInTurns(ways);
      const [offload, echo, framedEcho] = ways.map(({ name }, i) =>
        summarise(suite, `${name}, ${label}`, 'ms', samples[i]!),
      );
      const others = [way(SPAWNED, 300, () => runProgram(join(native, 'spawn-echo'), [], { input }))];
      if (docker !== undefined) others.push(way(DOCKER, 15, () => docker.call(input)));
      yield offload!;
      yield summarise(suite, `of that in the broker's queue, ${label}`, 'ms', queue);
      yield summarise(suite, `of that inside the unikernel, ${label}`, 'ms', run);
      yield echo!;
      yield framedEcho!;
      for (const { name, n: count, once } of others) {
        say(`${label}: ${name}, ${count} times`);
        const row = summarise(suite, `${name}, ${label}`, 'ms', await timeEach(count, Math.ceil(count / 10), once));
        yield row;
        yield ratio(row, offload, `${name} / offload, ${label}`)!;
      }
      if (docker === undefined) yield { suite, name: `${DOCKER}, ${label}`, absent: noDocker };
      yield { suite, name: `bare function in C, ${label}`, unit: 'ms', ...(await bareFunction(bytes, input)) };
      yield ratio(offload, echo, `offload / the floor, ${label}`)!;
      yield ratio(offload, framedEcho, `offload / echo with the parser of V2E, ${label}`)!;
    }

    for (const { bytes, label } of sizes) {
      const input = randomBytes(bytes);
      const ways = [
        { name: OFFLOAD, call: () => broker.call(input) },
        { name: 'socket.io echo', call: () => floor.echo(input) },
      ];
      say(`${label}: ${SATURATION.concurrency} at a time for ${SATURATION.ms / 1000} s, in turns`);
      const rates: number[][] = ways.map(() => []);
      for (let turn = 0; turn < SATURATION.turns; turn++) {
        for (const [i, { call }] of ways.entries()) {
          rates[i]!.push(await saturate(SATURATION.ms / SATURATION.turns, SATURATION.concurrency, call));
        }
      }
      for (const [i, { name }] of ways.entries()) {
        yield summarise(suite, `${name} at saturation, ${label}`, 'per second', rates[i]!);
      }
    }
  } finally {
    for (const part of undo.reverse()) await part.stop();
  }
  yield* largePayloads(say);
}

/** The function itself in a loop in one process; milliseconds. */
function bareFunction(bytes: number, input: Uint8Array): Promise<{ n: number; p50: number; p99: number; max: number }> {
  return new Promise((resolve, reject) => {
    const child = execFile(join(native, 'bare-echo'), [bytes < 100_000 ? '20000' : '1000'], (error, stdout) => {
      if (error) return reject(error);
      const ns = JSON.parse(stdout) as { n: number; p50: number; p99: number; max: number };
      resolve({ n: ns.n, p50: ns.p50 / 1e6, p99: ns.p99 / 1e6, max: ns.max / 1e6 });
    });
    child.stdin?.end(input);
  });
}
