import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { registerObuCommands } from '../../cli/obu/obu-commands.ts';
import { usageRows } from '../../cli/obu/status-commands.ts';
import { type ControlReply, type ControlRequest, jsonReply, linesReply } from '../../shared/api/control-routes.ts';
import { type ControlServer, createControlServer } from '../../shared/api/control-server.ts';
import type { ContainerUsage, Explanation, LogLine, ObuEvent, SignalReading } from '../../shared/api/obu.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';

let folder: string;
let api: string;
let server: ControlServer;
let out: string;
let err: string;
/** What the stub was asked, "METHOD PATH?QUERY". */
let asked: string[];
/** What it answers to freeze and thaw, and how often it has been looked at since. */
let state: { word: string; container: string; looks: number };

const event: ObuEvent = {
  id: 1,
  time: '2026-01-01T00:00:00.000Z',
  kind: 'workload',
  name: 'lane',
  word: 'Running(Ok)',
  message: 'its container runs',
  repeats: 2,
};
const speed: SignalReading = {
  path: 'Vehicle.Speed',
  value: 12.5,
  time: '2026-01-01T00:00:00.000Z',
  source: 'can0',
  stale: true,
};
const log: LogLine[] = [
  { time: '2026-01-01T00:00:00.000000001Z', stream: 'stdout', text: 'hello', container: 'a' },
  { time: '2026-01-01T00:00:01.000000001Z', stream: 'stderr', text: 'ouch', container: 'a' },
  { time: '2026-01-01T00:00:02.000000001Z', stream: 'stdout', text: 'again', container: 'b' },
];

function explanation(): Explanation {
  const [word, detail = ''] = state.word.split('/');
  return {
    workload: {
      name: 'lane',
      image: 'lane:1',
      priority: 500,
      state: word!,
      detail,
      reason: 'why it is so',
      restarts: 3,
      lastLine: 'bye',
    },
    wants: {
      memory: { bytes: 256 * 2 ** 20, declared: true },
      cpus: { number: 0.1, declared: false },
      preemption: 'freeze',
      restart: 'always',
      update: 'hand-over',
      requires: ['camera/front'],
      dependsOn: [{ workload: 'recorder', condition: 'healthy', state: 'Running(Ok)' }],
    },
    room: {
      memory: { total: 2 ** 30, used: 2 ** 29 },
      cpus: { total: 1.75, used: 0.6000000001 },
      pressure: 'memory 0.0 %, cpu 1.0 %',
    },
    containers: [
      {
        name: 'kerbside-lane',
        id: 'abcdef0123456789',
        state: state.container,
        health: 'none',
        image: 'sha256:1',
        startedAt: '2026-01-01T00:00:00.000Z',
      },
    ],
    failures: 2,
    lastEnd: { at: '2026-01-01T00:00:00.000Z', how: 'it ended with exit code 3' },
    preempted: { at: '2026-01-01T00:00:00.000Z', how: 'freeze', by: 'brake', why: '64 MiB were short' },
    versions: { now: 'configuration a with image b', good: 'configuration c with image d', bad: '', badWhy: '' },
    grants: [{ workload: 'lane', kind: 'camera', what: 'front', may: 'at most 5 pictures/s' }],
    denied: { rate: 7 },
    deniedIds: [{ bus: 'can0', id: '3EA', frames: 2 }],
    valueless: Array.from({ length: 12 }, (_, i) => ({ path: `Vehicle.S${i}.`, reason: `lost for reason ${i}` })),
    events: [event],
    log,
  };
}

async function* of<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

const route = (answer: (request: ControlRequest) => ControlReply) => (request: ControlRequest) => {
  asked.push(`${JSON.stringify(request.params)} ${request.query}`);
  return answer(request);
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-verbs-'));
  api = join(folder, 'api.sock');
  [out, err, asked] = ['', '', []];
  state = { word: 'Running/Ok', container: 'running', looks: 0 };
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
  const followed = (items: readonly unknown[]) =>
    route(({ query }) => (query.get('follow') === '1' ? linesReply(of(...items)) : jsonReply(items)));
  server = createControlServer({
    socketPath: api,
    log: silentLog(),
    routes: {
      'GET /v1/status': () => jsonReply({ workloads: [explanation().workload] }),
      'GET /v1/events': followed([event]),
      'GET /v1/signals': route(({ query }) => {
        if (query.get('path') === 'Vehicle.Nope') throw new KerbError(ErrorCode.UnknownSignal, 'no such signal');
        return query.get('follow') === '1' ? linesReply(of(speed)) : jsonReply([speed]);
      }),
      'POST /v1/signals/:path': (request) => {
        asked.push(`${request.params.path} ${request.query} ${request.body}`);
        const path = request.params.path!;
        return jsonReply({ path, ...(path === 'Vehicle.Fan' && { acknowledged: { ...speed, path, value: 5 } }) });
      },
      'GET /v1/grants': () => jsonReply(explanation().grants),
      'GET /v1/usage': () => jsonReply([]),
      'GET /v1/workloads/:name': route(({ params }) => {
        if (params.name !== 'lane')
          throw new KerbError(ErrorCode.UnknownWorkload, `there is no workload "${params.name}"`);
        if (state.looks++ > 1 && state.word === 'Frozen/person') state.container = 'paused';
        return jsonReply(explanation());
      }),
      'GET /v1/workloads/:name/logs': route(() => linesReply(of(...log))),
      'POST /v1/workloads/:name/freeze': route(() => {
        state.word = 'Frozen/person';
        return jsonReply({});
      }),
      'POST /v1/workloads/:name/thaw': route(() => jsonReply({})),
    },
  });
  await server.start();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await server.stop();
  await rm(folder, { recursive: true });
});

async function kerb(...args: string[]): Promise<string> {
  const program = new Command().exitOverride();
  registerObuCommands(program);
  const quiet = (command: Command): void => {
    command.exitOverride();
    for (const sub of command.commands) quiet(sub);
  };
  quiet(program);
  await program.parseAsync([...args, ...(args.includes('--api') ? [] : ['--api', api])], { from: 'user' });
  return out;
}

describe('every verb', () => {
  const verbs: [string, ...string[]][] = [
    ['status'],
    ['top'],
    ['explain', 'lane'],
    ['logs', 'lane'],
    ['freeze', 'lane'],
    ['thaw', 'lane'],
    ['obu', 'get', 'workloads'],
    ['obu', 'get', 'signals'],
    ['obu', 'get', 'grants'],
    ['obu', 'get', 'events'],
    ['signal', 'get', 'Vehicle.Speed'],
    ['signal', 'subscribe', 'Vehicle.Speed'],
    ['signal', 'set', 'Vehicle.Fan', '5'],
  ];

  it.each(verbs)('%s %s %s says what to do where no OBU runs', async (...words) => {
    const nowhere = join(folder, 'none.sock');
    await expect(kerb(...words, '--api', nowhere)).rejects.toMatchObject({
      code: ErrorCode.ApiUnavailable,
      message: expect.stringContaining(`no OBU runs at ${nowhere} (ENOENT); start one with kerb obu serve`),
    });
  });

  it('over https needs an identity, and an address that is one', async () => {
    await expect(kerb('status', '--api', 'https://127.0.0.1:1')).rejects.toMatchObject({
      code: ErrorCode.BadConfig,
      message: expect.stringContaining('needs --identity DIR'),
    });
    for (const bad of ['http://127.0.0.1:1', 'https://', 'https://a:1/x', 'ftp://a']) {
      await expect(kerb('status', '--api', bad)).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    }
    const missing = join(folder, 'none');
    await expect(kerb('status', '--api', 'https://127.0.0.1:1', '--identity', missing)).rejects.toMatchObject({
      code: ErrorCode.BadIdentity,
    });
  });

  it('refuses a format that it does not know', async () => {
    await expect(kerb('obu', 'get', 'workloads', '-o', 'xml')).rejects.toMatchObject({
      code: 'commander.invalidArgument',
    });
  });
});

describe('get', () => {
  it('workloads', async () => {
    expect(await kerb('obu', 'get', 'workloads')).toBe(
      'WORKLOAD  PRIORITY  STATE        RESTARTS  IMAGE   WHY\nlane      500       Running(Ok)  3         lane:1  why it is so\n',
    );
    out = '';
    expect(parse(await kerb('obu', 'get', 'workloads', '-o', 'yaml'))).toMatchObject([{ name: 'lane', restarts: 3 }]);
    out = '';
    expect(JSON.parse(await kerb('obu', 'get', 'workloads', '-o', 'json'))).toMatchObject([{ name: 'lane' }]);
  });

  it('grants', async () => {
    expect(await kerb('obu', 'get', 'grants')).toContain('lane      camera  front  at most 5 pictures/s');
  });

  it('events, of a name, and as they come', async () => {
    expect(await kerb('obu', 'get', 'events', '--name', 'lane')).toBe(
      '2026-01-01T00:00:00.000Z  workload lane: Running(Ok): its container runs (2 more times)\n',
    );
    out = '';
    expect(JSON.parse(await kerb('obu', 'get', 'events', '-w', '-o', 'json'))).toEqual(event);
    expect(asked).toEqual(['{} after=0&name=lane', '{} follow=1']);
  });

  it('signals', async () => {
    expect(await kerb('obu', 'get', 'signals', 'Vehicle.Speed', 'Vehicle.Cabin')).toMatch(
      /Vehicle\.Speed {2}12\.5 .*\(stale\)/,
    );
    expect(asked).toEqual(['{} path=Vehicle.Speed&path=Vehicle.Cabin']);
  });
});

describe('signal', () => {
  it('get passes on what the OBU says', async () => {
    expect(JSON.parse(await kerb('signal', 'get', 'Vehicle.Speed', '-o', 'json'))).toEqual([speed]);
    await expect(kerb('signal', 'get', 'Vehicle.Nope')).rejects.toMatchObject({ code: ErrorCode.UnknownSignal });
    await expect(kerb('signal', 'get')).rejects.toMatchObject({ code: 'commander.missingArgument' });
  });

  it('subscribe prints values as they come', async () => {
    expect(await kerb('signal', 'subscribe', 'Vehicle.Speed')).toBe(
      '2026-01-01T00:00:00.000Z  Vehicle.Speed = 12.5  (can0, stale)\n',
    );
    out = '';
    const [document] = parseAllDocuments(await kerb('signal', 'subscribe', 'Vehicle.Speed', '-o', 'yaml'));
    expect((document as { toJS(): unknown }).toJS()).toEqual(speed);
  });
});

describe('signal set', () => {
  it('says what the vehicle reports, or that it reports nothing', async () => {
    expect(await kerb('signal', 'set', 'Vehicle.Fan', '5', '--timeout', '3s')).toContain('Vehicle.Fan = 5  (can0');
    out = '';
    expect(await kerb('signal', 'set', 'Vehicle.Horn', 'true')).toBe('Vehicle.Horn is set; nothing acknowledges it\n');
    out = '';
    expect(await kerb('signal', 'set', 'Vehicle.Horn', 'true', '--no-wait')).toBe('Vehicle.Horn is being set\n');
    expect(asked).toEqual([
      'Vehicle.Fan wait=1&timeoutMs=3000 {"value":"5"}',
      'Vehicle.Horn wait=1&timeoutMs=0 {"value":"true"}',
      'Vehicle.Horn wait=0&timeoutMs=0 {"value":"true"}',
    ]);
    await expect(kerb('signal', 'set', 'Vehicle.Horn')).rejects.toMatchObject({ code: 'commander.missingArgument' });
  });
});

describe('explain', () => {
  it('has everything on one screen', async () => {
    const text = await kerb('explain', 'lane');
    expect(text.split('\n').length).toBeLessThan(36);
    // Of many signals without a value, the first ten.
    expect(text.match(/lost for reason \d+/g)).toEqual(Array.from({ length: 10 }, (_, i) => `lost for reason ${i}`));
    for (const part of [
      'lane: Running(Ok)',
      'why it is so',
      '256.0 MiB and 0.1 CPUs (not declared)',
      '512.0 MiB of 1024.0 MiB and 0.6 of 1.75 CPUs are taken by what runs; pressure: memory 0.0 %',
      'camera/front',
      'recorder (healthy), which is Running(Ok)',
      '64 MiB were short (freeze, for brake',
      'it ended with exit code 3, at 2026-01-01T00:00:00.000Z; 2 in a row, started again 3 times',
      'kerbside-lane (abcdef012345) is running',
      'configuration c with image d',
      'camera front at most 5 pictures/s',
      '7 CAN frames (rate); from its CAN interface: 3EA on can0 (2)',
      'workload lane: Running(Ok): its container runs',
      '! ouch',
    ]) {
      expect(text).toContain(part);
    }
  });

  it('is the same as JSON, and says when there is no such workload', async () => {
    expect(JSON.parse(await kerb('explain', 'lane', '-o', 'json'))).toEqual(explanation());
    await expect(kerb('explain', 'la/ne')).rejects.toMatchObject({
      code: ErrorCode.UnknownWorkload,
      message: 'there is no workload "la/ne"',
    });
  });
});

describe('explain --offload', () => {
  it.each([[[]], [['lane', '--offload', 'last']]])(
    'takes a workload or an offload, and %j is wrong usage',
    async (args) => {
      await expect(kerb('explain', ...args)).rejects.toMatchObject({
        code: 'commander.error',
        message: expect.stringContaining('name either a workload, or an offload with --offload ID'),
      });
    },
  );
});

describe('logs', () => {
  it('go to the stream that they came from, and say when the container is another one', async () => {
    expect(await kerb('logs', 'lane')).toBe('hello\nagain\n');
    expect(err).toBe('ouch\nkerb: lane is in a new container\n');
    expect(asked).toEqual(['{"name":"lane"} ']);
  });

  it('have options', async () => {
    expect(await kerb('logs', '-f', '-n', '5', '-t', 'lane')).toMatch(/^2026-01-01T00:00:00\.000000001Z hello\n/);
    expect(asked).toEqual(['{"name":"lane"} follow=1&tail=5']);
    out = '';
    const lines = (await kerb('logs', 'lane', '-o', 'json')).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(log);
    for (const bad of ['x', '-1', '1.5']) {
      await expect(kerb('logs', `--lines=${bad}`, 'lane')).rejects.toMatchObject({ code: 'commander.invalidArgument' });
    }
  });
});

describe('freeze and thaw', () => {
  it('freeze waits until its processes stand still', async () => {
    expect(await kerb('freeze', 'lane')).toBe('lane: Frozen(person): why it is so\n');
    expect(state.looks).toBeGreaterThan(2);
  });

  it('with --no-wait it does not', async () => {
    expect(await kerb('freeze', 'lane', '--no-wait')).toBe('');
    expect(state.looks).toBe(0);
  });

  it('thaw gives up after its time and says how it is', async () => {
    state = { word: 'Frozen/capacity', container: 'paused', looks: 0 };
    await expect(kerb('thaw', 'lane', '--timeout', '10ms')).rejects.toMatchObject({
      code: ErrorCode.NotReached,
      message:
        'lane is asked to thaw, and is still Frozen(capacity): why it is so; this continues, kerb explain lane shows how',
    });
    await expect(kerb('thaw', 'lane', '--timeout', 'soon')).rejects.toMatchObject({
      code: 'commander.invalidArgument',
    });
  });
});

describe('top', () => {
  const usage = (id: string, timeMs: number, total: number): ContainerUsage => ({
    workload: id,
    container: id,
    id,
    image: '',
    timeMs,
    startedAtMs: 0,
    cpuLimit: 0.5,
    threads: 3,
    cpu: { total, user: 0, system: 0 },
    throttling: { periods: 0, throttledPeriods: 0, throttledSeconds: 0 },
    memory: { usage: 3, workingSet: 2, rss: 1, cache: 1, limit: 0 },
  });

  it('shows the use between two looks, the most first', () => {
    const rows = usageRows(
      [usage('a', 1000, 1), usage('gone', 1000, 9)],
      [usage('a', 2000, 1.25), usage('new', 2000, 1), usage('b', 0, 5)],
    );
    expect(rows.map(({ workload, cpuPercent }) => [workload, cpuPercent])).toEqual([
      ['new', 50],
      ['a', 25],
      ['b', 0],
    ]);
  });

  it('says so when nothing runs', async () => {
    expect(await kerb('top')).toBe('no container runs, or the engine does not answer\n');
  });
});
