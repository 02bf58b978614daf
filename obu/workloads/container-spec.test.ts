import { describe, expect, it } from 'vitest';
import { workloadOf } from '../../test/support/workload.ts';
import { parseManifest } from '../manifest/manifest.ts';
import { configHash, containerOptions, desiredOf } from './container-spec.ts';

const text = (extra: string) => `services: { app: { image: "app:1", ${extra} } }`;
const workload = (extra = '') => parseManifest(text(extra), 'a.yaml')[0]!;
const places = {
  owner: 'obu-1/abc',
  gatewayKey: 'app',
  containerName: 'kerbside-app',
  gateway: '/run/g/app',
  data: '/state/data/app',
  group: '/kerbside-abc',
  memoryLeft: 99_000_000,
  diskWeights: true,
};

const image = { id: 'sha256:1', user: '' };

describe('a container', () => {
  it('has what the manifest gives it and nothing else', () => {
    const options = containerOptions(
      desiredOf(workload('mem_limit: 64m, cpus: 0.5, environment: { A: 1 }')),
      image,
      places,
    );
    expect(options).toMatchObject({
      Image: 'sha256:1',
      User: '10001:10001',
      Env: [
        'A=1',
        'KERBSIDE_GATEWAY=/run/kerbside/gateway.sock',
        'KUKSA_ADDRESS=unix:///run/kerbside/kuksa.sock',
        'KUKSA_TOKEN_FILE=/run/kerbside/token',
      ],
      Labels: { 'kerbside.owner': 'obu-1/abc', 'kerbside.workload': 'app', 'kerbside.gateway': 'app' },
      HostConfig: {
        NetworkMode: 'none',
        CgroupParent: '/kerbside-abc',
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        RestartPolicy: { Name: 'no' },
        Memory: 67_108_864,
        MemorySwap: 67_108_864,
        NanoCpus: 500_000_000,
        Mounts: [
          { Source: '/run/g/app', Target: '/run/kerbside', ReadOnly: true },
          { Source: '/state/data/app', Target: '/data', ReadOnly: false },
        ],
      },
    });
    expect(options).not.toHaveProperty('Cmd');
    expect(options).not.toHaveProperty('Entrypoint');
  });

  it('is labelled with the hash that it was planned with', () => {
    const { Labels } = containerOptions({ workload: workload(), configHash: 'as-planned' }, image, places);
    expect(Labels).toMatchObject({ 'kerbside.config': 'as-planned' });
  });

  it('has the memory that others leave, and no other limits, when the manifest gives none', () => {
    const { HostConfig, Labels } = containerOptions(desiredOf(workload()), image, places);
    expect(HostConfig).toMatchObject({ Memory: 99_000_000, MemorySwap: 99_000_000 });
    expect(Labels).toMatchObject({ 'kerbside.undeclared': 'memory' });
    expect(containerOptions(desiredOf(workload('mem_limit: 64m')), image, places).Labels).not.toHaveProperty(
      'kerbside.undeclared',
    );
    expect(HostConfig).not.toHaveProperty('NanoCpus');
  });

  it('runs as whom its image says', () => {
    expect(containerOptions(desiredOf(workload()), { ...image, user: '1000' }, places).User).toBe('1000');
  });

  it('gets every key of Compose that the manifest takes', () => {
    const extra = `
      command: [a], entrypoint: [b], working_dir: /app, hostname: me, user: "7:8", init: true, stop_signal: INT,
      stop_grace_period: 2s500ms, labels: { one: 1 }, mem_limit: 64m, mem_reservation: 32m, cpuset: "0", pids_limit: 9,
      shm_size: 1m, ulimits: { nofile: 100, core: { soft: 0, hard: 1 } }, tmpfs: ["/tmp:size=1m", /var/log],
      healthcheck: { test: [CMD, x], interval: 2s, timeout: 1s, retries: 5 }`;
    const tmpfs = 'rw,noexec,nosuid,nodev,mode=1777';
    expect(containerOptions(desiredOf(workload(extra)), { ...image, user: '1000' }, places)).toMatchObject({
      Cmd: ['a'],
      Entrypoint: ['b'],
      WorkingDir: '/app',
      Hostname: 'me',
      User: '7:8',
      StopSignal: 'SIGINT',
      StopTimeout: 3,
      Labels: { one: '1', 'kerbside.workload': 'app' },
      Healthcheck: { Test: ['CMD', 'x'], Interval: 2e9, Timeout: 1e9, Retries: 5, StartPeriod: 1e6 },
      HostConfig: {
        Init: true,
        MemoryReservation: 33_554_432,
        CpusetCpus: '0',
        PidsLimit: 9,
        ShmSize: 1_048_576,
        Ulimits: [
          { Name: 'core', Soft: 0, Hard: 1 },
          { Name: 'nofile', Soft: 100, Hard: 100 },
        ],
        Tmpfs: { '/tmp': `${tmpfs},size=1048576`, '/var/log': `${tmpfs},size=67108864` },
      },
    });
    const disabled = containerOptions(desiredOf(workload('healthcheck: { disable: true }')), image, places);
    expect(disabled.Healthcheck).toEqual({ Test: ['NONE'] });
  });

  it('has another hash as soon as anything that it is made from is another', () => {
    const face = 'x-obu: { grants: { can: [{ bus: a, as: interface, read: ["1:7"] }] } }';
    const hashes = ['', 'cpus: 1', 'command: [a]', 'healthcheck: { test: a }', 'labels: [a=b]', face];
    expect(new Set(hashes.map((extra) => configHash(workload(extra)))).size).toBe(hashes.length);
    expect(configHash(workload('cpus: 1.0'))).toBe(configHash(workload('cpus: "1"')));
  });

  it('has the same hash when only what the OBU does with it is another', () => {
    const others = [
      'restart: always',
      'x-obu: { priority: 1, preemption: never, outsource: never, requires: [bus/a], data: 1m, update: { when: parked } }',
      'x-obu: { grants: { signals: ["read:A"], can: [{ bus: a, read: ["1:7"] }], cameras: [{ name: b, maxFps: 1 }] } }',
    ];
    for (const extra of others) expect(configHash(workload(extra)), extra).toBe(configHash(workload()));
  });

  it('weighs as much as its priority says', () => {
    const weights = (priority: number) =>
      containerOptions(desiredOf(workloadOf({ name: 'app', priority })), image, places).HostConfig;
    expect(weights(1000)).toMatchObject({ CpuShares: 49_152, BlkioWeight: 1000, OomScoreAdj: 0 });
    expect(weights(0)).toMatchObject({ CpuShares: 192, BlkioWeight: 10, OomScoreAdj: 1000 });
  });
});
