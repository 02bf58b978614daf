import { describe, expect, it } from 'vitest';
import type { ContainerUsage } from '../../shared/api/obu.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { parseMetrics } from '../../test/support/metrics-text.ts';
import type { ObservedContainer } from '../planner/state.ts';
import { usageOf } from '../resources/usage.ts';
import { ObuMetrics } from './metrics.ts';

const observed = {
  id: 'abc123',
  name: 'kerbside-obu-1-lane',
  workload: 'lane',
  state: 'running',
  startedAtMs: 1_700_000_000_000,
  memLimit: 256 * 2 ** 20,
  cpus: 0.5,
} as ObservedContainer;

const stats = {
  cpu_stats: {
    cpu_usage: { total_usage: 2_500_000_000, usage_in_usermode: 2_000_000_000, usage_in_kernelmode: 500_000_000 },
    throttling_data: { periods: 10, throttled_periods: 3, throttled_time: 250_000_000 },
  },
  memory_stats: { usage: 50_000_000, stats: { anon: 30_000_000, file: 15_000_000, inactive_file: 10_000_000 } },
  pids_stats: { current: 7 },
};

describe('use of a container', () => {
  it('is read from control groups of version 2', () => {
    expect(usageOf(observed, 'lane:1', stats, 1_700_000_060_000)).toMatchObject({
      cpu: { total: 2.5, user: 2, system: 0.5 },
      memory: { usage: 50_000_000, workingSet: 40_000_000, rss: 30_000_000, cache: 15_000_000, limit: 268_435_456 },
      throttling: { periods: 10, throttledPeriods: 3, throttledSeconds: 0.25 },
      cpuLimit: 0.5,
      threads: 7,
    });
  });

  it('is read from control groups of version 1', () => {
    const memory_stats = { usage: 100, stats: { total_inactive_file: 40, total_rss: 50, total_cache: 45 } };
    expect(usageOf(observed, '', { memory_stats }, 0).memory).toMatchObject({ workingSet: 60, rss: 50, cache: 45 });
  });

  it('is nothing where the kernel says nothing, and no limit is 0', () => {
    const bare = { ...observed, memLimit: undefined, cpus: undefined };
    expect(usageOf(bare, '', {}, 0)).toMatchObject({
      cpu: { total: 0 },
      memory: { usage: 0, workingSet: 0, limit: 0 },
      cpuLimit: 0,
      threads: 0,
    });
  });
});

describe('metrics', () => {
  const bus = { stats: { framesReceived: 12, framesSent: 3, errorFrames: 1 } } as CanBus;
  const status = {
    vehicle: 'car-7',
    identity: { state: 'ExpiresSoon', good: true, reason: 'r', expiresAt: '2026-12-01T00:00:00.000Z' },
    clock: { floor: '2026-11-01T00:00:00.000Z', from: 'build', behind: true },
    workloads: [{ name: 'lane', state: 'Running', restarts: 2 }],
    signals: { paths: 5, withValue: 3, stale: 1, invalid: 0, ignored: 2, gpsd: { state: 'NoFix' } },
  } as unknown as ObuStatus;
  const usage: ContainerUsage = usageOf(observed, 'reg/"lane"\\:1', stats, 1_700_000_060_500);

  async function read(metrics: ObuMetrics, usages = [usage]) {
    const samples = parseMetrics(await metrics.text(status, [{ name: 'can0', bus }], usages));
    return (name: string) => samples.filter((one) => one.name === name);
  }

  it('say when the identity expires, what state it is in, and whether the clock was set', async () => {
    const samples = await read(new ObuMetrics());
    // 2026-12-01T00:00:00Z, worked out with date(1).
    expect(samples('obu_identity_expiry_timestamp_seconds')).toEqual([
      expect.objectContaining({ labels: { vehicle: 'car-7' }, value: 1_796_083_200 }),
    ]);
    expect(samples('obu_identity_state')).toEqual([
      expect.objectContaining({ labels: { state: 'ExpiresSoon' }, value: 1 }),
    ]);
    expect(samples('obu_clock_behind')[0]!.value).toBe(1);
    expect(samples('obu_gpsd_state')).toEqual([expect.objectContaining({ labels: { state: 'NoFix' }, value: 1 })]);
  });

  it('have these names and labels', async () => {
    const metrics = new ObuMetrics();
    metrics.canDropped('lane');
    metrics.canDenied('lane', 'rate');
    metrics.canDenied('other', 'rate');
    metrics.pictureDropped('lane');
    metrics.preempted('idle', 'lane');
    metrics.preempted('idle', 'lane');
    metrics.signalLatency(0.003);
    metrics.offload('ok');
    const of = await read(metrics);
    const lane = { workload: 'lane' };
    expect(of('obu_workload_state')).toMatchObject([{ labels: { ...lane, state: 'Running' }, value: 1 }]);
    expect(of('obu_workload_restarts_total')).toMatchObject([{ labels: lane, value: 2 }]);
    expect(of('obu_preemptions_total')).toMatchObject([{ labels: { victim: 'idle', by: 'lane' }, value: 2 }]);
    expect(of('obu_can_frames_total')).toEqual([
      { name: 'obu_can_frames_total', labels: { bus: 'can0', direction: 'received' }, value: 12 },
      { name: 'obu_can_frames_total', labels: { bus: 'can0', direction: 'sent' }, value: 3 },
    ]);
    expect(of('obu_can_frames_dropped_total')).toMatchObject([{ labels: lane, value: 1 }]);
    expect(of('obu_can_frames_denied_total')).toMatchObject([
      { labels: { ...lane, reason: 'rate' }, value: 1 },
      { labels: { workload: 'other' } },
    ]);
    expect(await metrics.deniedTo('lane')).toEqual({ rate: 1 });
    expect(of('obu_camera_frames_dropped_total')).toMatchObject([{ labels: lane, value: 1 }]);
    expect(of('obu_offloads_total')).toMatchObject([{ labels: { result: 'ok' }, value: 1 }]);
    expect(of('obu_signal_latency_seconds_count')).toMatchObject([{ value: 1 }]);
    const buckets = of('obu_signal_latency_seconds_bucket');
    expect(buckets.find(({ labels }) => labels.le === '0.002')!.value).toBe(0);
    expect(buckets.find(({ labels }) => labels.le === '0.005')!.value).toBe(1);
    expect(of('process_resident_memory_bytes')).toHaveLength(1);
  });

  it("have what containers use under cAdvisor's names and labels", async () => {
    const of = await read(new ObuMetrics());
    const labels = {
      id: '/docker/abc123',
      name: 'kerbside-obu-1-lane',
      image: 'reg/"lane"\\:1',
      container_label_kerbside_workload: 'lane',
    };
    const values = (name: string) => of(name).map(({ value }) => value);
    expect(of('container_cpu_usage_seconds_total')).toEqual([
      { name: 'container_cpu_usage_seconds_total', labels: { ...labels, cpu: 'total' }, value: 2.5 },
    ]);
    expect(of('container_memory_working_set_bytes')).toMatchObject([{ labels, value: 40_000_000 }]);
    expect(values('container_cpu_user_seconds_total')).toEqual([2]);
    expect(values('container_cpu_system_seconds_total')).toEqual([0.5]);
    expect(values('container_cpu_cfs_throttled_seconds_total')).toEqual([0.25]);
    expect(values('container_memory_usage_bytes')).toEqual([50_000_000]);
    expect(values('container_memory_rss')).toEqual([30_000_000]);
    expect(values('container_memory_cache')).toEqual([15_000_000]);
    expect(values('container_spec_memory_limit_bytes')).toEqual([268_435_456]);
    expect(values('container_spec_cpu_quota')).toEqual([50_000]);
    expect(values('container_spec_cpu_period')).toEqual([100_000]);
    expect(values('container_threads')).toEqual([7]);
    expect(values('container_start_time_seconds')).toEqual([1_700_000_000]);
    expect(values('container_last_seen')).toEqual([1_700_000_060]);
  });

  it('forget a container that is gone, and count on across reads', async () => {
    const metrics = new ObuMetrics();
    await read(metrics);
    expect((await read(metrics))('container_cpu_usage_seconds_total')).toMatchObject([{ value: 2.5 }]);
    expect((await read(metrics, []))('container_cpu_usage_seconds_total')).toEqual([]);
  });

  it.each([
    ['no end', '# TYPE a gauge\na 1'],
    ['no type', 'a 1\n'],
    ['twice', '# TYPE a gauge\na 1\na 2\n'],
    ['bad label', '# TYPE a gauge\na{b=1} 1\n'],
    ['bad escape', '# TYPE a gauge\na{b="\\x"} 1\n'],
    ['negative counter', '# TYPE a counter\na -1\n'],
    ['no number', '# TYPE a gauge\na x\n'],
  ])('are held against a reader that refuses: %s', (_what, text) => expect(() => parseMetrics(text)).toThrow());
});
