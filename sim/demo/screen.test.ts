import { describe, expect, it } from 'vitest';
import type { BrokerStatus, ObuStatus } from '../../shared/api/status.ts';
import { type DriveView, errorKey, renderBeat, renderLine, renderScreen, renderSummary, summarise } from './screen.ts';

const quantiles = { count: 290, p50: 1.234, p99: 5.6, max: 123.4 };

const obu: ObuStatus = {
  vehicle: 'demo-car',
  obu: 'obu-1',
  startedAt: '2026-01-01T00:00:00.000Z',
  clock: { floor: '2025-12-01T00:00:00.000Z', from: 'build', behind: false },
  engine: { kind: 'private', host: 'unix:///s', version: '20.10', fault: '' },
  resources: {
    memory: { total: 2 ** 30, reserved: 2 ** 28, used: 0 },
    cpus: { total: 2, reserved: 0.25, used: 0 },
    pressure: 'not available',
  },
  buses: [
    {
      name: 'can0',
      kind: 'userspace',
      state: 'Up',
      reason: '',
      framesPerSecond: 1043.4,
      load: 0.234,
      bitrate: 500_000,
      frames: 31_204,
      dropped: 0,
      errorFrames: 0,
    },
  ],
  signals: { paths: 20, withValue: 19, stale: 0, invalid: 0, ignored: 0 },
  cameras: [
    { name: 'front', source: 'sim:/s', simulated: true, state: 'Running', reason: '', fps: 15, consumers: 1, lost: 0 },
  ],
  workloads: [
    {
      name: 'drive-log',
      image: 'drive-log:1',
      priority: 500,
      state: 'Running',
      detail: 'Ok',
      reason: 'started',
      restarts: 0,
      lastLine: 'speed 43 km/h',
    },
  ],
  offloads: {
    ok: 290,
    failed: 1,
    inFlight: 1,
    perSecond: 9.8,
    failedPerSecond: 0.2,
    total: quantiles,
    queue: quantiles,
    run: quantiles,
  },
  places: [{ place: 'broker:rsu-1', url: 'https://127.0.0.1:7443', connected: true, reason: '' }],
  errors: [{ time: '2026-01-01T00:00:02.000Z', source: 'lane-filter', code: 6002, message: 'the broker went away' }],
};

const broker: BrokerStatus = {
  broker: 'rsu-1',
  startedAt: '2026-01-01T00:00:00.000Z',
  url: 'https://127.0.0.1:7443',
  clients: 1,
  queued: 0,
  running: 0,
  drain: { state: 'serving', since: '', by: '', endsInMs: 0, tryBrokers: [], waiting: 0, running: 0 },
  offloads: { ok: 290, refused: 0, failed: 0, perSecond: 9.8 },
  packages: [],
  errors: [{ time: '2026-01-01T00:00:01.000Z', source: 'rsu-1', code: 8003, message: 'the tender died' }],
};

const view: DriveView = {
  step: '',
  elapsedMs: 75_000,
  remainingMs: 5_000,
  obu,
  broker,
  errors: [],
  errorsKnown: new Set(),
  picturesFolder: '/pictures',
};

describe('the screen', () => {
  it('shows bus load, workloads with state, offload times and the errors of every daemon in order of time', () => {
    const text = renderScreen(view, 200).join('\n');
    expect(text).toContain('up 1:15, 0:05 to go');
    expect(text).toMatch(/bus can0\s+userspace\s+Up\s+1,043 frames\/s\s+load 23\.4 %/);
    expect(text).toMatch(/drive-log\s+500\s+Running\(Ok\)\s+0\s+speed 43 km\/h/);
    expect(text).toMatch(/total\s+1\.23\s+5\.60\s+123/);
    expect(text.indexOf('the tender died')).toBeLessThan(text.indexOf('the broker went away'));
  });

  it('shows how many tenders a task has, and why it has none', () => {
    const task = {
      digest: 'sha256:0',
      version: '1',
      memory: 0,
      isolation: 'process',
      calls: 1200,
      cpuMs: 5,
      peakMemory: 16_384,
      restarts: 5,
    };
    const packages = [
      { ...task, name: 'echo', tender: 'Busy', tenders: 3, reason: '' },
      { ...task, name: 'aqi', tender: 'Quarantined', tenders: 0, reason: 'aqi 1 is in quarantine for 10 s' },
    ];
    const text = renderScreen({ ...view, broker: { ...broker, packages } }, 200).join('\n');
    expect(text).toMatch(/task echo 1 {2}Busy, 3 tenders, isolation process, 1,200 calls, 5 restarts$/m);
    expect(text).toMatch(/task aqi 1 {2}Quarantined, 0 tenders, .*: aqi 1 is in quarantine for 10 s$/m);
  });

  it('leaves out errors of the start-up once all runs', () => {
    const errorsKnown = new Set(broker.errors.map(errorKey));
    const text = renderScreen({ ...view, errorsKnown }, 200).join('\n');
    expect(text).not.toContain('the tender died');
    expect(text).toContain('the broker went away');
  });

  it('never writes past the width of the terminal', () => {
    for (const columns of [20, 80]) {
      for (const line of renderScreen(view, columns)) expect(line.length).toBeLessThanOrEqual(columns);
    }
  });

  it('is there before any daemon answers', () => {
    const empty = { ...view, step: 'broker: starting', obu: undefined, broker: undefined };
    expect(renderScreen(empty, 80).join('\n')).toContain('broker: starting');
    expect(renderLine(empty)).toContain('broker: starting');
  });

  it('says in a line that the broker is away', () => {
    expect(renderLine({ ...view, broker: undefined })).toContain('broker does not answer');
  });

  it('says for how long somebody has not answered, and keeps what they said before', () => {
    const silent = { ...view, obuSilentMs: 3210, brokerSilentMs: 4567 };
    for (const text of [renderScreen(silent, 200).join('\n'), renderLine(silent)]) {
      expect(text).toContain('OBU: no answer for 3.2 s');
      expect(text).toContain('broker: no answer for 4.6 s');
      expect(text).toContain('drive-log');
    }
    const place = { ...obu.places[0]!, connected: false, reason: 'no answer for 3.2 s', silentMs: 3200 };
    const hanging = { ...view, obu: { ...obu, places: [place] } };
    expect(renderLine(hanging)).toContain('broker:rsu-1 no answer for 3.2 s');
    expect(renderScreen(hanging, 200).join('\n')).toMatch(/^broker:rsu-1 .* no answer for 3\.2 s$/m);
  });

  it('shows no time where nothing was measured', () => {
    const nothing = { count: 0, p50: 0, p99: 0, max: 0 };
    const failed = { count: 7, p50: 512, p99: 520, max: 521 };
    const offloads = { ...obu.offloads, total: failed, queue: nothing, run: nothing };
    const view2 = { ...view, obu: { ...obu, offloads } };
    expect(renderLine(view2)).toContain('total 512/520 queue –/– run –/–');
    expect(renderLine(view2)).toContain('none succeeded lately');
    expect(renderLine(view)).not.toContain('none succeeded');
    expect(renderScreen(view2, 200).join('\n')).toMatch(/run\s+–\s+–\s+–/);
  });

  it('says what takes its time, in the middle of the start and of the end', () => {
    expect(renderBeat({ ...view, step: 'images: building' })).toBe('1:15 | images: building');
    expect(renderBeat(view)).toBe(renderLine(view));
  });
});

describe('the summary', () => {
  it('is OK when all runs and an offload succeeded', () => {
    const summary = summarise(view, undefined);
    expect(summary.ok).toBe(true);
    expect(renderSummary(summary).at(-1)).toBe('  result: OK');
  });

  it.each([
    ['no offload succeeded', { ...view, obu: { ...obu, offloads: { ...obu.offloads, ok: 0 } } }],
    [
      'workload drive-log is Failed(ImageMissing): there is no image',
      {
        ...view,
        obu: {
          ...obu,
          workloads: [
            { ...obu.workloads[0]!, state: 'Failed', detail: 'ImageMissing', reason: 'there is no image drive-log:1' },
          ],
        },
      },
    ],
    ['the OBU hangs: no answer for 12.0 s', { ...view, obuSilentMs: 12_000 }],
    ['the OBU never answered', { ...view, obu: undefined }],
    ['the manifest has no workload', { ...view, obu: { ...obu, workloads: [] } }],
  ])('fails when %s', (problem, failing) => {
    const summary = summarise(failing, undefined);
    expect(summary.ok).toBe(false);
    expect(renderSummary(summary).join('\n')).toContain(`result: FAILED: ${problem}`);
  });

  it('fails with the reason why it did not start', () => {
    expect(summarise(view, 'dockerd is missing').problems).toEqual(['dockerd is missing']);
  });
});
