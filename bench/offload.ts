import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchBroker } from './broker.ts';
import { type Measurement, saturate, summarise, timeEach } from './measure.ts';
import { DockerRun } from './peers/docker-run.ts';
import { runProgram } from './peers/process.ts';
import { SocketIoEcho } from './peers/socketio-echo.ts';

const built = fileURLToPath(new URL('../build/bench/', import.meta.url));
const sizes = [
  { bytes: 64, label: '64 B', n: 5000 },
  { bytes: 4096, label: '4 KiB', n: 5000 },
  { bytes: 65_536, label: '64 KiB', n: 2000 },
  { bytes: 1_048_576, label: '1 MiB', n: 300 },
];
const SATURATION = { ms: 4000, concurrency: 32 };

/**
 * The whole way of one offload over loopback (offloader → socket.io over mutual TLS → broker → tender → unikernel and
 * back), and beside it the ways that others would run the same function, with the same bytes.
 */
export async function* offloadSuite(say: (text: string) => void): AsyncGenerator<Measurement> {
  const suite = 'offload';
  say('starting a broker, a socket.io echo and a Docker Engine');
  const undo: { stop(): Promise<void> }[] = [];
  try {
    const broker = new BenchBroker();
    undo.push(broker);
    await broker.start('echo');
    const floor = await SocketIoEcho.start(broker.identities, broker.brokerId);
    undo.push(floor);
    const docker = await DockerRun.start(join(built, 'spawn-echo'));
    undo.push(docker);

    const medians = new Map<string, number>();
    for (const { bytes, label, n } of sizes) {
      const input = randomBytes(bytes);
      const checked = (call: (input: Uint8Array) => Promise<Uint8Array>) => async () => {
        const output = await call(input);
        // Compared whole: a wrong answer is not to be measured as a quick one.
        if (Buffer.compare(input, output) !== 0) throw new Error(`${label} came back changed`);
      };
      const ways: [name: string, n: number, call: (input: Uint8Array) => Promise<Uint8Array>][] = [
        ['offload', n, (data) => broker.call(data)],
        ['socket.io echo, same TLS (the floor)', n, (data) => floor.echo(data)],
        ['spawned process', 300, (data) => runProgram(join(built, 'spawn-echo'), [], data)],
        ['docker run, warm image', 15, (data) => docker.call(data)],
      ];
      for (const [name, count, call] of ways) {
        say(`${label}: ${name}, ${count} times`);
        const samples = await timeEach(count, Math.min(200, Math.ceil(count / 10)), checked(call));
        const row = summarise(suite, `${name}, ${label}`, 'ms', samples);
        medians.set(`${name} ${bytes}`, row.p50);
        yield row;
      }
      const bare = await bareFunction(bytes < 100_000 ? 20_000 : 1000, input);
      yield { suite, name: `bare function in C, ${label}`, unit: 'ms', ...bare };
      const times = (name: string, over: string, under: string): Measurement => {
        const value = medians.get(`${over} ${bytes}`)! / medians.get(`${under} ${bytes}`)!;
        return { suite, name: `${name}, ${label}`, unit: 'times (p50)', n: 1, p50: value, p99: value, max: value };
      };
      yield times('docker run / offload', 'docker run, warm image', 'offload');
      yield times('spawned process / offload', 'spawned process', 'offload');
      yield times('offload / the floor', 'offload', 'socket.io echo, same TLS (the floor)');
    }

    for (const { bytes, label } of sizes) {
      const input = randomBytes(bytes);
      for (const [name, call] of [
        ['offload', () => broker.call(input)],
        ['socket.io echo', () => floor.echo(input)],
      ] as const) {
        say(`${label}: ${name}, ${SATURATION.concurrency} at a time for ${SATURATION.ms / 1000} s, three times`);
        const rates: number[] = [];
        for (let i = 0; i < 3; i++) rates.push(await saturate(SATURATION.ms / 3, SATURATION.concurrency, call));
        yield summarise(suite, `${name} at saturation, ${label}`, 'per second', rates);
      }
    }
  } finally {
    for (const part of undo.reverse()) await part.stop();
  }
}

/** The function itself in a loop in one process; milliseconds. */
function bareFunction(n: number, input: Uint8Array): Promise<{ n: number; p50: number; p99: number; max: number }> {
  return new Promise((resolve, reject) => {
    const child = execFile(join(built, 'bare-echo'), [String(n)], (error, stdout) => {
      if (error) return reject(error);
      const ns = JSON.parse(stdout) as { n: number; p50: number; p99: number; max: number };
      resolve({ n: ns.n, p50: ns.p50 / 1e6, p99: ns.p99 / 1e6, max: ns.max / 1e6 });
    });
    child.stdin?.end(input);
  });
}
