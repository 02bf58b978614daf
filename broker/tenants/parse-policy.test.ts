import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { DEFAULT_LIMITS } from '../config.ts';
import { builtInPolicy } from './built-in.ts';
import { parsePolicy, readPolicy } from './parse-policy.ts';

const builtIn = builtInPolicy({ limits: DEFAULT_LIMITS }).others;
const parse = (text: string) => parsePolicy(text, 'p.yaml', builtIn);
const digest = `sha256:${'ab'.repeat(32)}`;

function problems(text: string): string[] {
  try {
    parse(text);
    return [];
  } catch (error) {
    if (isKerbError(error, ErrorCode.BadPolicy)) return problemLines(error);
    throw error;
  }
}

describe('a policy', () => {
  it('of {} is what a broker without one does', () => {
    const { tenants, others, ...rest } = parse('{}');
    expect(others).toEqual(builtIn);
    expect(tenants.size).toBe(0);
    expect(rest).toEqual({
      refuseOthers: false,
      classes: { safety: 0, high: 0.2, normal: 0.1, idle: 0.02 },
      signers: undefined,
      revoked: { keys: [], digests: [] },
      versions: 'any',
      neighbours: [],
      operators: [],
    });
  });

  it('has a value for every key', () => {
    const policy = parse(`
default: { offloads: 7, cpu: { perMinute: 30s } }
others: refuse
tenants:
  Example Fleet:
    weight: 2.5
    highestClass: safety
    offloads: unlimited
    running: 3
    largestBudget: 1m30s
    cpu: { perMinute: 1m, burst: 5s }
    memory: 1g
    bytes: 512k
    results: { count: 10, bytes: 1m, keep: 2h }
    state: { keys: 5, bytes: 1m, ttl: 24h, shared: [{ keys: ["map-*"], tenants: [Other] }, { keys: [a], tasks: [t] }] }
    packages: { push: true, count: 4, bytes: 32m }
    connections: 100
    connectionsPerVehicle: 2
    requestsPerSecond: 500
    unread: 1m
    isolation: vm
    shares: { see: ["*"], run: [Other, "acme-*"] }
  Other: {}
  Free: { cpu: { perMinute: unlimited } }
classes: { high: 20, normal: 5, idle: 0 }
signers: [{ key: maker, tenants: ["Example *"], tasks: ["acme-*"] }, { key: other }]
revoked: { keys: [old], digests: ["${digest}"] }
versions: forward
neighbours: [{ broker: rsu-2, tenant: Other, may: [results, offer] }]
operators: [alice]
`);
    expect(policy.tenants.get('Example Fleet')).toEqual({
      weight: 2.5,
      highestClass: 'safety',
      offloads: Infinity,
      running: 3,
      largestBudgetMs: 90_000,
      longestRunMs: 90_000,
      cpu: { perMinuteMs: 60_000, burstMs: 5000 },
      memory: 2 ** 30,
      bytes: 512 * 1024,
      results: { count: 10, bytes: 2 ** 20, keepMs: 7_200_000 },
      state: {
        ...{ keys: 5, bytes: 2 ** 20, ttlMs: 86_400_000 },
        shared: [
          { keys: ['map-*'], tasks: ['*'], tenants: ['Other'] },
          { keys: ['a'], tasks: ['t'], tenants: [] },
        ],
      },
      packages: { push: true, count: 4, bytes: 32 * 2 ** 20 },
      connections: 100,
      connectionsPerVehicle: 2,
      requestsPerSecond: 500,
      unread: 2 ** 20,
      isolation: 'vm',
      shares: { see: ['*'], run: ['Other', 'acme-*'] },
    });
    expect(policy.tenants.get('Other')).toEqual({
      ...builtIn,
      offloads: 7,
      running: Math.min(7, builtIn.running),
      cpu: { perMinuteMs: 30_000, burstMs: 30_000 },
    });
    expect(policy.tenants.get('Free')!.cpu).toEqual({ perMinuteMs: Infinity, burstMs: Infinity });
    expect(policy).toMatchObject({
      refuseOthers: true,
      classes: { safety: 0, high: 0.2, normal: 0.05, idle: 0 },
      signers: [
        { key: 'maker', tenants: ['Example *'], tasks: ['acme-*'] },
        { key: 'other', tenants: ['*'], tasks: ['*'] },
      ],
      revoked: { keys: ['old'], digests: [digest] },
      versions: 'forward',
      neighbours: [{ broker: 'rsu-2', tenant: 'Other', may: ['results', 'offer'] }],
      operators: ['alice'],
    });
  });

  it('that bounds a whole bounds its parts as well', () => {
    const { others } = parse('default: { offloads: 1, connections: 4 }');
    expect(others).toMatchObject({ offloads: 1, running: 1, connections: 4, connectionsPerVehicle: 4 });
  });
});

describe('a policy that is not valid', () => {
  it.each<[string, string, RegExp]>([
    ['a typo', 'tenants:\n  A: { wieght: 1 }', /^p\.yaml:2: tenants\.A\.wieght: unknown key; did you mean `weight`\?/],
    ['a typo in a part', 'default:\n  cpu: { perMinute: 1s, burts: 1s }', /^p\.yaml:2: default\.cpu\.burts: .*`burst`/],
    ['a key of a tenant at the top', 'offloads: 1', /^p\.yaml:1: offloads: .*under `default`/],
    ['no map', '[]', /^p\.yaml:1: must be a map/],
    ['nothing', '', /^p\.yaml:1: must be a map/],
    ['a tenant that is none', 'tenants:\n  "a/b": {}', /^p\.yaml:2: tenants\.a\/b: is not a valid tenant/],
    ['a tenant without a map', 'tenants: { A: }', /tenants\.A: must be a map/],
    ['a negative number', 'default: { offloads: -1 }', /default\.offloads: must be .*, or unlimited/],
    ['a broken number', 'default: { running: 1.5 }', /default\.running: must be/],
    ['a word for a number', 'default: { memory: lots }', /default\.memory: must be a size.*unlimited/],
    ['a duration that is none', 'default: { largestBudget: 5 }', /default\.largestBudget: must be a duration/],
    ['a budget above an hour', 'default: { largestBudget: 2h }', /default\.largestBudget: must be 1ms to 1h/],
    ['a burst of nothing', 'default: { cpu: { perMinute: 1s, burst: 0s } }', /default\.cpu\.burst: must be 100ms/],
    ['a burst alone', 'default: { cpu: { burst: 1s } }', /default\.cpu\.perMinute: must be/],
    ['a class', 'default: { highestClass: urgent }', /default\.highestClass: must be one of safety, high/],
    ['more running than offloads', 'default: { running: 3, offloads: 2 }', /default\.running: .*at most offloads.* 2/],
    [
      'more of a vehicle than of all',
      'tenants: { A: { connectionsPerVehicle: 3, connections: 2 } }',
      /tenants\.A\.connectionsPerVehicle: must be at most connections/,
    ],
    ['a least share of safety', 'classes: { safety: 5 }', /classes\.safety: comes before/],
    ['shares of more than all', 'classes: { high: 50, normal: 40, idle: 10 }', /classes: .*at most 90.* 100/],
    ['shares that the defaults exceed', 'classes: { high: 90 }', /classes: .*at most 90/],
    ['a digest', 'revoked: { digests: ["sha256:12"] }', /revoked\.digests\[0\]: must be the digest/],
    ['a key that is none', 'revoked: { keys: ["../x"] }', /revoked\.keys\[0\]: must be a key/],
    ['a signer without a key', 'signers: [{ tasks: [a] }]', /signers\[0\]\.key: must be a key/],
    ['a task that is none', 'signers: [{ key: k, tasks: ["A b"] }]', /signers\[0\]\.tasks\[0\]: must be the name/],
    ['a share with nobody', 'default: { shares: { run: ["/"] } }', /default\.shares\.run\[0\]: must be the name of a/],
    [
      'a right that is none',
      'neighbours: [{ broker: b, tenant: A, may: [all] }]',
      /neighbours\[0\]\.may\[0\]: must be/,
    ],
    ['a neighbour with no right', 'neighbours: [{ broker: b, tenant: A, may: [] }]', /neighbours\[0\]\.may: is empty/],
    [
      'a neighbour twice',
      'neighbours:\n  - { broker: b, tenant: A, may: [offer] }\n  - { broker: b, tenant: A, may: [state] }',
      /^p\.yaml:3: neighbours\[1\]: .*twice/,
    ],
    ['an operator twice', 'operators: [a, a]', /operators\[1\]: a is listed twice/],
    ['an operator that is none', 'operators: ["a b"]', /operators\[0\]: must be an id/],
    ['versions', 'versions: back', /versions: must be one of any, forward/],
  ])('%s: is refused with its line', (_what, text, message) => {
    const lines = problems(text);
    expect(lines[0]).toMatch(message);
    expect(lines).toHaveLength(1);
  });

  it('is told with all that is wrong, in the order of the file', () => {
    const lines = problems('others: maybe\ndefault:\n  offloads: 0\n  isolaton: vm\nversions: 3\n');
    expect(lines.map((line) => /^p\.yaml:(\d+): (\S+):/.exec(line)?.slice(1))).toEqual([
      ['1', 'others'],
      ['3', 'default.offloads'],
      ['4', 'default.isolaton'],
      ['5', 'versions'],
    ]);
  });

  it('is told when it cannot be read, or is no text', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'kerb-policy-'));
    const file = join(dir, 'p.yaml');
    await expect(readPolicy(file, builtIn)).rejects.toMatchObject({ code: ErrorCode.BadPolicy });
    writeFileSync(file, Buffer.from([0x61, 0xff]));
    await expect(readPolicy(file, builtIn)).rejects.toMatchObject({ code: ErrorCode.BadPolicy });
    writeFileSync(file, 'others: refuse\n');
    expect((await readPolicy(file, builtIn)).refuseOthers).toBe(true);
    rmSync(dir, { recursive: true });
  });
});
