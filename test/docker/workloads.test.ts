import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseObuConfig } from '../../obu/config/config.ts';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import { processesWith } from '../../obu/engine/processes.ts';
import { buildWorkloadImage } from '../../obu/images/workload-image.ts';
import { type RunningObu, startObu } from '../../obu/main.ts';
import { getControl } from '../../shared/api/control-client.ts';
import type { WorkloadStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { hasSharedEngine, useSharedEngine } from '../support/machine/shared-engine.ts';
import { rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { IDS, SPEED_BYTES, TestCar } from './car.ts';

useSharedEngine();

// A name of its own: other files use the same engine, and here it is missing at first.
const PROBE = 'kerbside-test-probe-workloads:1';
const manifest = `
services:
  read:
    image: ${PROBE}
    environment: { MODE: read }
    mem_limit: 128m
    cpus: 0.5
    x-obu:
      grants:
        can: [{ bus: can0, read: ["100:700"] }]
        signals: ["read:Vehicle.Speed", "actuate:Vehicle.Cabin"]
        cameras: [{ name: front, maxFps: 5 }]
  write:
    image: ${PROBE}
    environment: { MODE: write }
    x-obu:
      grants:
        can: [{ bus: can0, write: [{ id: "3E9", len: 2, maxRate: 0.001/s }], when: Vehicle.Speed > 100 }]
  refused: { image: "${PROBE}", environment: { MODE: refused } }
  confined: { image: "${PROBE}", environment: { MODE: confined }, mem_limit: 128m }
  fail: { image: "${PROBE}", environment: { MODE: fail }, restart: "on-failure:2" }
  eat-memory: { image: "${PROBE}", environment: { MODE: eat-memory }, mem_limit: 64m }
  no-program: { image: "${PROBE}", command: [/no/such/program] }
  no-image: { image: "kerbside-test-absent:1" }
`;

const car = new TestCar();
const state = mkdtempSync(join(tmpdir(), 'kerb-docker-'));
let obu: RunningObu;
let engine: Engine;
let foreign: string;
let buildStates: string[] = [];

/** @throws KerbError EngineUnavailable that says what is missing, where there is neither an engine nor dockerd */
beforeAll(async () => {
  execFileSync('tools/build-app-sdk.sh');
  await car.start();
  const config = parseObuConfig(car.config(), join(car.folder, 'obu.yaml'));
  obu = await startObu({
    config,
    manifest: { file: 'test.compose.yaml', text: manifest },
    state,
    api: join(state, 'api.sock'),
    log: silentLog(),
  });
  const { kind, host } = obu.status().engine;
  engine = await reachEngine(kind, host);
  // Its first look at the engine may still be under way.
  const words = () => obu.status().workloads.map((one) => `${one.state}(${one.detail})`);
  buildStates = await until(
    'the first look at the engine is over',
    () => !words().includes('Pending(Starting)') && words(),
    words,
  );
  await buildWorkloadImage(engine, join(import.meta.dirname, 'probe'), PROBE, () => {});
  // A container of somebody else, which only looks like one of ours.
  const other = await engine.calls.createContainer({
    Image: PROBE,
    Cmd: ['node', '-e', 'setInterval(() => {}, 1000)'],
    Labels: { 'kerbside.owner': 'obu-1/somebody-else', 'kerbside.workload': 'read' },
    HostConfig: { NetworkMode: 'none' },
  });
  await other.start();
  foreign = other.id;
});

afterAll(async () => {
  if (foreign) await engine.calls.getContainer(foreign).remove({ force: true });
  await obu?.stop();
  // A private engine's images go with its state folder; somebody else's gets its disk back.
  if (engine?.kind === 'external') await engine.calls.getImage(PROBE).remove({ force: true });
  await car.stop();
  await rm(state, { recursive: true, force: true });
});

async function reported(workload: string): Promise<Record<string, unknown>> {
  const file = join(state, 'data', workload, `${workload}.json`);
  await until(
    `${workload} has reported`,
    () => existsSync(file),
    () => statusOf(workload),
  );
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
}

function statusOf(workload: string): WorkloadStatus {
  return obu.status().workloads.find(({ name }) => name === workload)!;
}

async function untilState(workload: string, wanted: string): Promise<WorkloadStatus> {
  const look = () => {
    const status = statusOf(workload);
    return `${status.state}(${status.detail})` === wanted && status;
  };
  return until(`${workload} is ${wanted}`, look, () => statusOf(workload));
}

describe('a container', () => {
  it('waits for its image, and starts by itself when it is there', async () => {
    expect(new Set(buildStates)).toEqual(new Set(['Failed(ImageMissing)']));
    await untilState('read', 'Running(Ok)');
    expect(statusOf('no-image')).toMatchObject({ state: 'Failed', detail: 'ImageMissing' });
  });

  it('reads the CAN frames, signals and pictures that it was granted', async () => {
    const report = await reported('read');
    expect(report.identity).toEqual(['test-car', 'obu-1', 'read']);
    expect(report.ids).toEqual(expect.arrayContaining(IDS.filter((id) => (id & 0x700) === 0x100)));
    expect(report.ids).not.toContain(0x400);
    expect(report.filteredIds).toEqual([0x122]);
    expect(report.frame).toMatchObject({ data: SPEED_BYTES });
    const [speed] = report.values as { path: string; value: number; source: string }[];
    expect(speed).toMatchObject({ path: 'Vehicle.Speed', source: 'can0' });
    expect(speed!.value).toBeCloseTo(123.45, 2);
    expect(report.got).toMatchObject([{ path: 'Vehicle.Speed', stale: false }]);
    expect(report.actuated).toMatchObject({ value: 40, source: 'can0', stale: false });
    expect(car.fanWishes).toEqual([[40, 1, 41]]);
    // 16 is UNAUTHENTICATED.
    expect(report.kuksa).toEqual({ status: '0', value: Math.fround(123.45) });
    expect(report.kuksaRefused).toEqual({ status: '16', value: null });
    expect(report.picture).toMatchObject({ camera: 'front', format: 'gray8', width: 64, height: 48, bytes: 64 * 48 });
    const [darkest, brightest] = (report.picture as { data: [number, number] }).data;
    expect(brightest).toBeGreaterThan(darkest);
  });

  it('writes to the bus what it was granted, and nothing else', async () => {
    const report = await reported('write');
    expect(report.grants).toMatchObject([
      { bus: 'can0', write: [{ id: 0x3e9, length: 2 }], when: 'Vehicle.Speed > 100' },
    ]);
    const refused = (code: number) => expect.objectContaining({ code });
    expect(report).toMatchObject({
      length: refused(ErrorCode.CanWriteWrongLength),
      id: refused(ErrorCode.CanWriteNotGranted),
      rate: refused(ErrorCode.CanWriteTooFast),
    });
    // The fan's 130 is another workload's.
    expect(car.heard.filter((frame) => !frame.startsWith('130#'))).toEqual(['3E9#0102']);
    const metrics = await getControl(join(state, 'api.sock'), '/metrics');
    for (const reason of ['length', 'id', 'rate']) {
      expect(metrics).toContain(`obu_can_frames_denied_total{workload="write",reason="${reason}"} 1`);
    }
  });

  it('without a grant is refused, and the refusal names the grant', async () => {
    const report = await reported('refused');
    const refused = (wanted: RegExp) => ({ code: ErrorCode.NotGranted, message: expect.stringMatching(wanted) });
    expect(report.can).toEqual(refused(/x-obu\.grants\.can: \[\{ bus: can0/));
    expect(report.signals).toEqual(refused(/x-obu\.grants\.signals: \["read:Vehicle\.Speed"\]/));
    expect(report.camera).toEqual(refused(/x-obu\.grants\.cameras: \[\{ name: front/));
    expect(report.offload).toEqual(refused(/x-obu\.grants\.offload: \{ tasks: \["dashcam-filter"\]/));
    expect(obu.status().errors.filter(({ source }) => source === 'workload refused')).toHaveLength(4);
  });

  it('has no network, no capabilities, no root file system to write to, and is nobody', async () => {
    expect(await reported('confined')).toMatchObject({
      uid: 10001,
      capabilities: ['0000000000000000', '0000000000000000', '0000000000000000'],
      noNewPrivileges: '1',
      interfaces: [],
      root: { code: 'EROFS' },
      gateway: { code: 'EROFS' },
      tmp: null,
    });
  });

  it('that fails is started again as often as it may be, then left with its reason', async () => {
    const status = await untilState('fail', 'Failed(ExitCode)');
    // The program's own exit code; how often it was started is in the file that it writes.
    expect(status.reason).toMatch(/\b3\b/);
    expect(status.restarts).toBe(2);
    expect(readFileSync(join(state, 'data', 'fail', 'starts'), 'utf8')).toBe('xxx');
  });

  it('that eats more memory than its limit fails with that reason', async () => {
    expect((await untilState('eat-memory', 'Failed(OutOfMemory)')).reason).toContain('mem_limit');
  });

  it('whose program is missing fails with the sentence of the engine', async () => {
    expect((await untilState('no-program', 'Failed(CannotStart)')).reason).toMatch(/no\/such\/program/);
  });

  it('is seen in status and metrics', async () => {
    expect((await untilState('read', 'Running(Ok)')).lastLine).toBe('reported read');
    const metrics = await getControl(join(state, 'api.sock'), '/metrics');
    expect(metrics).toContain('obu_workload_state{workload="read",state="Running"} 1');
    expect(metrics).toContain('obu_workload_restarts_total{workload="fail"} 2');
    expect(metrics).toMatch(/obu_can_frames_total\{bus="can0",direction="received"\} [1-9]/);
    expect(metrics).toMatch(/obu_signal_latency_seconds_count [1-9]/);
  });
});

describe('an OBU', () => {
  it('refuses to share its state folder', async () => {
    const config = parseObuConfig(car.config(), join(car.folder, 'obu.yaml'));
    const second = startObu({ config, state, api: join(state, 'second.sock'), log: silentLog() });
    await expect(second).rejects.toMatchObject({ code: ErrorCode.ObuAlreadyRunning });
    expect(obu.status().workloads.length).toBeGreaterThan(0);
  });

  it('that stops leaves no container, process, socket or mount, and the containers of others alone', async () => {
    const places = stateLayout(state);
    await obu.stop();
    expect((await engine.calls.getContainer(foreign).inspect()).State.Running).toBe(true);
    const left = await engine.calls.listContainers({
      all: true,
      filters: { label: [`kerbside.owner=obu-1/${places.stateHash}`] },
    });
    expect(left).toEqual([]);
    expect(existsSync(places.runtime)).toBe(false);
    expect(existsSync(join(state, 'api.sock'))).toBe(false);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(state);
    expect(readdirSync(join(state, 'data'))).toContain('read');
  });

  it('can be stopped in the middle of its start', async () => {
    const config = parseObuConfig(car.config(), join(car.folder, 'obu.yaml'));
    const folder = join(state, 'early');
    mkdirSync(folder);
    // With an engine of its own, which it may have to stop while that starts.
    if (hasSharedEngine()) vi.stubEnv('DOCKER_HOST', '');
    for (const delayMs of rows(1, [300, 50, 0, 5])) {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), delayMs);
      const start = startObu({
        config,
        state: folder,
        api: join(folder, 'api.sock'),
        log: silentLog(),
        signal: abort.signal,
      });
      const started = await start.catch((error: { code: number }) => error.code);
      // Where the start was quicker than the signal, it is stopped as ever.
      if (typeof started === 'object') await started.stop();
      else expect(started).toBe(ErrorCode.Cancelled);
      expect(processesWith(stateLayout(folder).runtime)).toEqual([]);
      expect(existsSync(stateLayout(folder).runtime)).toBe(false);
    }
    vi.unstubAllEnvs();
  });
});
