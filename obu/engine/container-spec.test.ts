import { describe, expect, it } from 'vitest';
import { parseManifest } from '../manifest/manifest.ts';
import { configHash, containerOptions } from './container-spec.ts';

const text = (extra: string) => `services: { app: { image: "app:1", ${extra} } }`;
const workload = (extra = '') => parseManifest(text(extra), 'a.yaml')[0]!;
const places = { owner: 'obu-1/abc', containerName: 'kerbside-app', gateway: '/run/g/app', data: '/state/data/app' };

describe('a container', () => {
  it('has what the manifest gives it and nothing else', () => {
    const options = containerOptions(workload('mem_limit: 64m, cpus: 0.5, environment: { A: 1 }'), '', places);
    expect(options).toMatchObject({
      Image: 'app:1',
      User: '10001:10001',
      Env: [
        'A=1',
        'KERBSIDE_GATEWAY=/run/kerbside/gateway.sock',
        'KUKSA_ADDRESS=unix:///run/kerbside/kuksa.sock',
        'KUKSA_TOKEN_FILE=/run/kerbside/token',
      ],
      Labels: { 'kerbside.owner': 'obu-1/abc', 'kerbside.workload': 'app' },
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
    const { HostConfig } = containerOptions(workload(), '', places);
    expect(HostConfig).not.toHaveProperty('Memory');
    expect(HostConfig).not.toHaveProperty('NanoCpus');
  });

  it('runs as whom its image says', () => {
    expect(containerOptions(workload(), '1000', places).User).toBe('1000');
  });

  it('has another hash as soon as anything in the manifest is another', () => {
    const hashes = [
      '',
      'cpus: 1',
      'command: [a]',
      'x-obu: { priority: 1 }',
      'x-obu: { grants: { signals: ["read:A"] } }',
    ];
    expect(new Set(hashes.map((extra) => configHash(workload(extra)))).size).toBe(hashes.length);
    expect(configHash(workload('cpus: 1.0'))).toBe(configHash(workload('cpus: "1"')));
  });
});
