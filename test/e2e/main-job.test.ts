import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Summary } from '../../sim/demo/screen.ts';
import { isLong, longIt, rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { leftovers } from './leftovers.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const nothing = { processes: [], mounts: [], sockets: [], containers: [] };

const KERB = ['bin/kerb', 'sim', 'drive'];
const NPM = ['npm', 'start', '--'];

/** The main job as a person starts it, its output kept. */
class MainJob {
  readonly state: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string>;
  output = '';

  constructor(state: string, args: readonly string[], command: readonly string[] = KERB) {
    this.state = state;
    const [file, ...rest] = command;
    // A group of its own, so that a Ctrl-C can be sent to all of it, as a terminal does.
    this.#child = spawn(file!, [...rest, '--state', state, ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#ended = new Promise((resolve) => this.#child.once('close', (code, signal) => resolve(code ?? signal ?? '')));
  }

  /** Exit code, or the signal that ended it. */
  end(): Promise<number | string> {
    return this.#ended;
  }

  interrupt(): void {
    process.kill(-this.#child.pid!, 'SIGINT');
  }

  /** The process of the main job itself, which is a child of npm's shell. */
  get pid(): number {
    return Number(readFileSync(join(this.state, 'drive.pid'), 'utf8'));
  }

  status(): Promise<ObuStatus> {
    return getStatus<ObuStatus>(join(this.state, 'run', 'obu.sock'));
  }

  summary(): Summary {
    return JSON.parse(readFileSync(join(this.state, 'summary.json'), 'utf8')) as Summary;
  }

  /** Waits until the OBU's status is as wanted; fails with the output when that does not come about. */
  until(what: string, wanted: (status: ObuStatus) => boolean, timeoutMs = 120_000): Promise<ObuStatus> {
    const look = async () => {
      const status = await this.status().catch(() => undefined);
      return status !== undefined && wanted(status) && status;
    };
    return until(what, look, () => this.output, timeoutMs);
  }
}

function childOf(parent: number, words: string): number {
  const found = readdirSync('/proc').filter((entry) => {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent && command.includes(words);
    } catch {
      return false;
    }
  });
  expect(found, `one child '${words}' of ${parent}`).toHaveLength(1);
  return Number(found[0]);
}

/** Else it would mean nothing that nothing is found later. */
function seesWhatRuns(state: string): void {
  const alive = leftovers(state);
  expect(alive.processes.length).toBeGreaterThan(8);
  expect(alive.sockets.length).toBeGreaterThan(5);
}

/** Waits a little for the kernel to finish what has been asked of it, then looks. */
async function whatIsLeft(state: string): Promise<ReturnType<typeof leftovers>> {
  for (let i = 0; i < 600; i++) {
    const left = leftovers(state);
    if (JSON.stringify(left) === JSON.stringify(nothing)) return left;
    await sleep(100);
  }
  return leftovers(state);
}

/** How it ends, its arguments, and what runs it: at Ctrl-C, npm ends with the signal and tells no exit code. */
const ends = rows<[string, string[], string[]]>(1, [
  ['Ctrl-C', [], KERB],
  ['--for', ['--for', '10s'], NPM],
]);

/** While one runs, another one on its folder and wrong usage are refused. */
async function refusesOthers(job: MainJob): Promise<void> {
  const second = new MainJob(job.state, ['--plain', '--for', '1s']);
  expect(await second.end()).toBe(1);
  expect(second.output).toContain(String(job.pid));
  const third = new MainJob(job.state, ['--for', '30']);
  expect(await third.end()).toBe(2);
  expect(third.output).toContain("'30'");
}

/** Its broker is killed: each workload is told within its budget, is neither restarted nor disturbed, and is served again. */
async function survivesItsBroker(job: MainJob): Promise<void> {
  const before = await job.until('the first offloads', (s) => s.offloads.ok >= 3);
  expect(before.places.map((place) => place.connected)).toEqual([true]);

  process.kill(childOf(job.pid, 'broker serve'), 'SIGKILL');
  const during = await job.until('a failed offload', (s) => s.offloads.failed > 0);
  expect(during.offloads.failed).toBeGreaterThan(0);

  const after = await job.until(
    'offloads after the broker came back',
    (s) => s.places[0]?.connected === true && s.offloads.ok >= during.offloads.ok + 3,
  );
  // The workload itself was neither restarted nor disturbed.
  expect(after.workloads.map((w) => [w.name, w.state, w.restarts])).toEqual([
    ['drive-log', 'Running', 0],
    ['lane-filter', 'Running', 0],
  ]);

  const log = readFileSync(join(job.state, 'obu', 'data', 'lane-filter', 'round-trips.jsonl'), 'utf8');
  const failed = log
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { failed?: string; code?: number; afterMs?: number; budgetMs?: number })
    .filter((entry) => entry.failed !== undefined);
  expect(failed.length).toBeGreaterThan(0);
  for (const entry of failed) {
    // Which of them is a matter of when the broker died: without a link, under way, or while it was looked for.
    expect([ErrorCode.NoBroker, ErrorCode.BrokerLost, ErrorCode.BudgetExhausted]).toContain(entry.code);
    // The budget is a promise to the workload: the error comes when it ends, and not when a connection is given up. The
    // slack is for timers on a machine that is busy with something else.
    expect(entry.afterMs).toBeLessThan(entry.budgetMs! + 5_000);
  }
}

describe('the main job', () => {
  // One folder for all, as a person has it: in the long form the first run builds the images and is killed, and the later ones
  // find what it left. Each test passes alone as well. In `npm test` one start has to do for all that can be seen of it.
  let state: string;
  let job: MainJob | undefined;

  beforeAll(() => {
    state = mkdtempSync(join(tmpdir(), 'kerb-e2e-'));
  });
  afterAll(() => rmSync(state, { recursive: true, force: true }));
  afterEach(async () => {
    if (job) {
      try {
        job.interrupt();
      } catch {
        // It has ended already, as it should.
      }
      await job.end();
      job = undefined;
    }
  });

  longIt(
    'tells the workload within its budget when the broker is killed, and leaves nothing behind when it is killed itself',
    async () => {
      job = new MainJob(state, ['--plain'], NPM);
      await survivesItsBroker(job);

      // Then it is killed itself.
      seesWhatRuns(state);
      process.kill(job.pid, 'SIGKILL');
      // As the shell of `npm start` tells it, or as npm does.
      expect(['SIGKILL', 137]).toContain(await job.end());
      // Nobody is left to tell them: every daemon sees by itself that its parent is gone.
      let left = leftovers(state);
      for (let i = 0; i < 1_200 && (left.processes.length > 0 || left.mounts.length > 0); i++) {
        await sleep(100);
        left = leftovers(state);
      }
      expect(left.processes).toEqual([]);
      expect(left.mounts).toEqual([]);
      expect(left.containers).toEqual([]);
    },
    400_000,
  );

  it.each(ends)(
    'runs from its start to a summary, ended by %s, and leaves nothing behind',
    async (end, args, command) => {
      const data = join(state, 'obu', 'data');
      rmSync(data, { recursive: true, force: true }); // what is found there is to be of this run
      job = new MainJob(state, args, command);
      await job.until('both workloads run', (status) => {
        return status.workloads.length === 2 && status.workloads.every((one) => one.state === 'Running');
      });
      if (end === 'Ctrl-C') {
        await refusesOthers(job);
        // Before the job itself is under way, Ctrl-C is an interruption and no end.
        const { output } = await until(
          'the job is under way',
          () => /drive-log Running\(Ok\)/.test(job!.output) && job,
        );
        expect(output).toContain('lane-filter Running(Ok)');
        await job.until('offloads, all signals and a line of drive-log', ({ offloads, signals, workloads }) => {
          const isTold = workloads.some(({ name, lastLine }) => name === 'drive-log' && lastLine.startsWith('speed'));
          return offloads.ok >= 3 && signals.withValue === signals.paths && isTold;
        });
        await until('a picture', () => readdirSync(join(data, 'lane-filter')).some((name) => name.endsWith('.pgm')));
        // In the long form another run is for that, and the broker of this one counts from its start to its end.
        if (!isLong) await survivesItsBroker(job);
        seesWhatRuns(state);
        job.interrupt();
      }
      const exitCode = await job.end();
      expect(exitCode, job.output).toBe(0);

      for (const fact of ['bus can0', 'drive-log Running(Ok)', 'result: OK']) expect(job.output).toContain(fact);

      const summary = job.summary();
      expect(summary.ok).toBe(true);
      expect(summary.obu?.workloads.map((w) => [w.name, w.state, w.restarts])).toEqual([
        ['drive-log', 'Running', 0],
        ['lane-filter', 'Running', 0],
      ]);
      // The camera is read at 10 pictures a second at most; how many a busy machine does is nobody's promise.
      expect(summary.obu?.offloads.ok).toBeGreaterThan(0);
      expect(summary.broker?.offloads.ok).toBeGreaterThanOrEqual(isLong ? summary.obu!.offloads.ok : 3);
      expect(summary.obu?.buses[0]?.frames).toBeGreaterThan(0);
      expect(summary.obu?.signals.withValue).toBe(summary.obu?.signals.paths);
      const driveLog = summary.obu?.workloads.find((w) => w.name === 'drive-log')?.lastLine;
      expect(driveLog).toMatch(/^speed \d+ km\/h {2}engine \d+ rpm {2}gear -?\d+ {2}steering -?\d+\.\d deg$/);

      // What came back is a filtered picture: of the size asked for, the region above the road dark, edges below it.
      const pictures = readdirSync(summary.picturesFolder).filter((name) => name.endsWith('.pgm'));
      expect(pictures.length).toBeGreaterThan(0);
      const picture = readFileSync(join(summary.picturesFolder, pictures.sort().at(-1)!));
      const head = 'P5\n320 240\n255\n';
      expect(picture.subarray(0, head.length).toString('latin1')).toBe(head);
      const pixels = picture.subarray(head.length);
      expect(pixels.length).toBe(320 * 240);
      expect(Math.max(...pixels.subarray(0, 320 * 60))).toBe(0);
      const marked = pixels.subarray(320 * 140).filter((value) => value > 0).length;
      expect(marked).toBeGreaterThan(50);

      const lines = readFileSync(join(summary.picturesFolder, 'round-trips.jsonl'), 'utf8').trimEnd().split('\n');
      const trips = lines.map((line) => JSON.parse(line) as { roundTripMs?: number; runMs?: number; place?: string });
      expect(trips.some((trip) => trip.roundTripMs !== undefined)).toBe(true);
      for (const trip of trips) {
        if (trip.roundTripMs === undefined) continue;
        expect(trip.place).toBe('broker:rsu-1');
        expect(trip.runMs).toBeGreaterThan(0);
        expect(trip.runMs).toBeLessThan(trip.roundTripMs);
      }

      expect(await whatIsLeft(state)).toEqual(nothing);
    },
    400_000,
  );

  it('is made of daemons each of which ends cleanly when the main job is gone', async () => {
    const socket = join(state, 'can.bus');
    const env = { ...process.env, KERB_STOP_WITH_STDIN: '1' };
    const bus = spawn('bin/kerb', ['can', 'bus', '--socket', socket], {
      cwd: root,
      stdio: ['pipe', 'ignore', 'ignore'],
      env,
    });
    const ended = new Promise((resolve) => bus.once('exit', (code, signal) => resolve(code ?? signal)));
    await until('the bus is there', () => existsSync(socket));
    bus.stdin.destroy(); // as the kernel does for one that was killed
    expect(await ended).toBe(0);
    expect(await whatIsLeft(state)).toEqual(nothing);
  });

  longIt(
    'ends with one clear line and a failure when it cannot be done',
    async () => {
      const manifest = join(state, 'bad.yaml');
      execFileSync('sh', [
        '-c',
        'printf "services:\\n  a:\\n    image: a:1\\n    imagee: b\\n" > "$1"',
        'sh',
        manifest,
      ]);
      job = new MainJob(state, ['--plain', '--for', '5s', '--manifest', manifest]);
      expect(await job.end()).toBe(1);
      expect(job.output).toContain('imagee');
      expect(job.output).toMatch(/bad\.yaml:4/);
      expect(job.output.match(/result: FAILED/g)).toHaveLength(1);
      expect(await whatIsLeft(state)).toEqual(nothing);
    },
    120_000,
  );
});
