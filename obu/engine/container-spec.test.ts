import { describe, expect, it } from 'vitest';
import { parseManifest } from '../manifest/manifest.ts';
import { workloadOf } from '../manifest/test-workload.ts';
import { configHash, containerOptions } from './container-spec.ts';

const text = (extra: string) => `services: { app: { image: "app:1", ${extra} } }`;
const workload = (extra = '') => parseManifest(text(extra), 'a.yaml')[0]!;
const places = {
  owner: 'obu-1/abc',
  gatewayKey: 'app',
  containerName: 'kerbside-app',
  gateway: '/run/g/app',
  data: '/state/data/app',
};

const image = { id: 'sha256:1', user: '' };

describe('a container', () => {
  it('has what the manifest gives it and nothing else', () => {
    const options = containerOptions(workload('mem_limit: 64m, cpus: 0.5, environment: { A: 1 }'), image, places);
    expect(options).toMatchObject({
      Image: 'sha256:1',
      User: '10001:10001',
      Env: ['A=1', 'KERBSIDE_GATEWAY=/run/kerbside/gateway.sock'],
      Labels: { 'kerbside.owner': 'obu-1/abc', 'kerbside.workload': 'app', 'kerbside.gateway': 'app' },
      HostConfig: {
        NetworkMode: 'none',
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

  it('has no limits when the manifest gives none', () => {
    const { HostConfig } = containerOptions(workload(), image, places);
    expect(HostConfig).not.toHaveProperty('Memory');
    expect(HostConfig).not.toHaveProperty('NanoCpus');
  });

  it('runs as whom its image says', () => {
    expect(containerOptions(workload(), { ...image, user: '1000' }, places).User).toBe('1000');
  });

  it('has another hash as soon as anything is another that it is made from', () => {
    const hashes = ['', 'cpus: 1', 'command: [a]', 'x-obu: { grants: { signals: ["read:A"] } }'];
    expect(new Set(hashes.map((extra) => configHash(workload(extra)))).size).toBe(hashes.length);
    expect(configHash(workload('cpus: 1.0'))).toBe(configHash(workload('cpus: "1"')));
  });

  it('has the same hash when only its treatment is another: it runs on', () => {
    const treated = workloadOf({ name: 'app', priority: 1, preemption: 'never', restart: { policy: 'always' } });
    expect(configHash(treated)).toBe(configHash(workloadOf({ name: 'app' })));
  });

  it('weighs as much as its priority says, and ends and is looked after as the manifest says', () => {
    const healthcheck = { test: ['CMD', '/ok'], intervalMs: 2000, timeoutMs: 500, retries: 3, startPeriodMs: 0 };
    const own = { priority: 1000, stopSignal: 'SIGINT', stopGraceMs: 1500, healthcheck };
    expect(containerOptions(workloadOf({ name: 'app', ...own }), image, places)).toMatchObject({
      StopSignal: 'SIGINT',
      StopTimeout: 2,
      Healthcheck: { Test: ['CMD', '/ok'], Interval: 2e9, Timeout: 5e8, Retries: 3, StartPeriod: 0 },
      HostConfig: { CpuShares: 49_152, BlkioWeight: 1000, OomScoreAdj: 0 },
    });
    const idle = containerOptions(workloadOf({ name: 'app', priority: 0 }), image, places);
    expect(idle.HostConfig).toMatchObject({ CpuShares: 192, BlkioWeight: 10, OomScoreAdj: 1000 });
    expect(idle).not.toHaveProperty('Healthcheck');
  });
});
