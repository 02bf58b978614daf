import { describe, expect, it } from 'vitest';
import { ErrorCode, isKerbError, type KerbError } from '../../shared/errors.ts';
import { problemLines } from '../yaml.ts';
import { parseManifest } from './manifest.ts';

const whole = `
services:
  lane-warning:
    image: lane-warning:1
    command: node /app/main.ts --name "two words"
    environment: { ZONE: b, LEVEL: 3 }
    restart: on-failure:5
    mem_limit: 256m
    cpus: "0.5"
    x-obu:
      priority: high
      grants:
        signals: ["read:Vehicle.Speed", "read:Vehicle.Cabin.*", "read:Vehicle.Speed"]
        can:
          - { bus: can0, read: ["100:700", "00012345:1FFFFFFF"], as: socket }
        cameras: [{ name: front, maxFps: 10 }]
        offload: { tasks: ["dashcam-filter"], maxBudgetMs: 500 }
  bare:
    image: team/bare
`;

function failureOf(text: string, offers?: Parameters<typeof parseManifest>[2]): KerbError {
  try {
    parseManifest(text, 'car.yaml', offers);
  } catch (error) {
    if (isKerbError(error, ErrorCode.BadManifest)) return error;
    throw error;
  }
  throw new Error('the manifest was taken');
}

describe('a manifest', () => {
  it('becomes workloads, sorted and with every default filled in', () => {
    expect(parseManifest(whole, 'car.yaml')).toEqual([
      {
        name: 'bare',
        image: 'team/bare:latest',
        command: undefined,
        entrypoint: undefined,
        environment: {},
        restart: { policy: 'no' },
        memLimit: undefined,
        cpus: undefined,
        healthcheck: undefined,
        dependsOn: [],
        stopSignal: 'SIGTERM',
        stopGraceMs: 5000,
        priority: 500,
        preemption: 'stop',
        outsource: 'allowed',
        requires: [],
        update: { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' },
        grants: { signals: [], can: [], cameras: [], offload: undefined },
      },
      {
        name: 'lane-warning',
        image: 'lane-warning:1',
        command: ['node', '/app/main.ts', '--name', 'two words'],
        entrypoint: undefined,
        environment: { LEVEL: '3', ZONE: 'b' },
        restart: { policy: 'on-failure', maxRetries: 5 },
        memLimit: 268_435_456,
        cpus: 0.5,
        healthcheck: undefined,
        dependsOn: [],
        stopSignal: 'SIGTERM',
        stopGraceMs: 5000,
        priority: 750,
        preemption: 'stop',
        outsource: 'allowed',
        requires: [],
        update: { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' },
        grants: {
          signals: ['read:Vehicle.Cabin.*', 'read:Vehicle.Speed'],
          can: [{ bus: 'can0', read: ['100:700', '00012345:1FFFFFFF'], write: [], as: 'socket', when: undefined }],
          cameras: [{ name: 'front', maxFps: 10 }],
          offload: { tasks: ['dashcam-filter'], maxBudgetMs: 500 },
        },
      },
    ]);
  });

  it('means the same whatever the order of its keys and the spelling of its values', () => {
    const other = whole
      .replace('{ ZONE: b, LEVEL: 3 }', '["LEVEL=3", "ZONE=b"]')
      .replace('256m', '268435456')
      .replace('priority: high', 'priority: 750');
    expect(parseManifest(other, 'car.yaml')).toEqual(parseManifest(whole, 'car.yaml'));
  });

  it('may share parts by YAML anchors', () => {
    const text =
      'services:\n  a: &a\n    image: x:1\n    cpus: 1\n  b:\n    <<: *a\n    image: y:2\n    x-obu: { priority: 1 }\n';
    expect(parseManifest(text, 'car.yaml').map((w) => [w.image, w.cpus, w.priority])).toEqual([
      ['x:1', 1, 500],
      ['y:2', 1, 1],
    ]);
  });

  it('is held against what the OBU has', () => {
    const signals = ['Vehicle.Cabin.Door', 'Vehicle.Speed'];
    const offers = { buses: ['can1'], cameras: [], tasks: ['dashcam-filter'], signals };
    expect(problemLines(failureOf(whole, offers))).toEqual([
      'car.yaml:15: services.lane-warning.x-obu.grants.can.0.bus: this OBU has no bus "can0"; it has can1',
      'car.yaml:16: services.lane-warning.x-obu.grants.cameras.0.name: this OBU has no camera "front"; it has no camera at all',
    ]);
  });

  it.each([
    ['Vehicle.Speeed', 'did you mean "Vehicle.Speed"?'],
    ['Vehicle.Cabn', 'did you mean "Vehicle.Cabin"?'],
    ['Vehicle.Cabin.Sunroof.*', 'the nearest that it has is the branch "Vehicle.Cabin"'],
    ['Vehicle.*.Window', 'the nearest that it has is the branch "Vehicle"'],
  ])('may not grant a signal that the OBU has not: %s', (path, advice) => {
    const text = grants(
      `        signals:\n          - read:Vehicle.*.Door\n          - read:Vehicle\n          - read:${path}`,
    );
    const offers = { buses: [], cameras: [], tasks: [], signals: ['Vehicle.Cabin.Door', 'Vehicle.Speed'] };
    expect(problemLines(failureOf(text, offers))).toEqual([
      `car.yaml:9: services.a.x-obu.grants.signals.2: this OBU has no signal "${path}"; ${advice}`,
    ]);
    expect(parseManifest(text, 'car.yaml')).toHaveLength(1);
  });

  it('may grant no signal where there is no mapping file', () => {
    const offers = { buses: [], cameras: [], tasks: [], signals: [] };
    expect(failureOf(grants('        signals: ["read:Vehicle"]'), offers).message).toMatch(/names no mapping file$/);
  });

  it('reports all of its problems at once, in order of lines', () => {
    const error = failureOf('services:\n  a:\n    image: x\n    cpus: none\n    imagee: y\n    mem_limit: 1\n');
    expect(problemLines(error).map((line) => line.split(': ', 2).join(': '))).toEqual([
      'car.yaml:4: services.a.cpus',
      'car.yaml:5: services.a.imagee',
      'car.yaml:6: services.a.mem_limit',
    ]);
    expect(error.message).toMatch(/^car\.yaml:4: services\.a\.cpus: .* \(and 2 more problems in this file\)$/);
  });
});

/** Under `services: a:` with an image, unless it begins at the left edge. The line number is that of the fault. */
const service = (lines: string) => `services:\n  a:\n    image: x:1\n${lines}`;
const grants = (lines: string) => service(`    x-obu:\n      grants:\n${lines}`);

const bad: readonly [string, string, RegExp][] = [
  ['nothing at all', '', /^car\.yaml:1: must be a map with the key `services`/],
  ['a list', '- a', /^car\.yaml:1: must be a map/],
  ['no services', 'services: {}', /:1: services: names no service/],
  ['text that is no YAML', 'services:\n  a: [', /^car\.yaml:\d+: /],
  ['two documents', 'services: {}\n---\nservices: {}', /^car\.yaml:\d+: .*multiple documents/i],
  ['a key twice', 'services:\n  a: { image: x }\n  a: { image: y }', /:3: .*unique/],
  ['an alias to nothing', 'services:\n  a: *nowhere', /^car\.yaml:\d+: .*nowhere/],
  ['a typo at the top', 'servces: {}', /:1: servces: unknown key; did you mean `services`\?/],
  ['Compose volumes at the top', 'volumes: {}\nservices: { a: { image: x } }', /:1: volumes: is a key of Compose/],
  ['a service without image', 'services:\n  a: { cpus: 1 }', /:2: services\.a\.image: must name an image/],
  ['a service that is text', 'services:\n  a: x', /:2: services\.a: must be a map with at least `image`/],
  ['a name with a slash', 'services:\n  ../../etc: { image: x }', /:2: services\.\.\.\/\.\.\/etc: a name has/],
  ['a name of 64 letters', `services:\n  ${'a'.repeat(64)}: { image: x }`, /a name has 1 to 63/],
  ['a bad image', 'services:\n  a: { image: "X Y" }', /:2: services\.a\.image: is no image name/],
  ['a typo in a service', service('    memlimit: 1g'), /:4: services\.a\.memlimit: .*did you mean `mem_limit`\?/],
  ['ports', service('    ports: [80]'), /:4: services\.a\.ports: is a key of Compose.*no network/],
  ['volumes', service('    volumes: ["/:/host"]'), /:4: services\.a\.volumes: .*\/data/],
  ['privileged', service('    privileged: true'), /:4: services\.a\.privileged: .*x-obu\.grants/],
  ['healthcheck', service('    healthcheck: {}'), /:4: services\.a\.healthcheck: is not supported by this version/],
  ['depends_on', service('    depends_on: [b]'), /:4: services\.a\.depends_on: is not supported by this version/],
  ['preemption', service('    x-obu: { preemption: stop }'), /:4: .*x-obu\.preemption: is not supported/],
  ['outsource', service('    x-obu: { outsource: never }'), /x-obu\.outsource: is not supported/],
  ['requires', service('    x-obu: { requires: [] }'), /x-obu\.requires: is not supported/],
  ['update', service('    x-obu: { update: {} }'), /x-obu\.update: is not supported/],
  ['a typo in x-obu', service('    x-obu:\n      priorty: 1'), /:5: .*x-obu\.priorty: .*did you mean `priority`\?/],
  ['x-obu with a typo', service('    x-obo: {}'), /:4: services\.a\.x-obo: .*did you mean `x-obu`\?/],
  ['an open quote', service(`    command: node "main`), /:4: services\.a\.command: a quote is not closed/],
  ['an empty command', service('    command: []'), /command: is empty/],
  ['a command of maps', service('    command: [{}]'), /command: must be a list of strings/],
  ['a variable without value', service('    environment: [HOME]'), /environment: HOME has no value/],
  ['a variable set twice', service('    environment: [A=1, A=2]'), /environment: A is set twice/],
  ['a variable of ours', service('    environment: { KERBSIDE_GATEWAY: /x }'), /belong to the OBU/],
  ['a variable with a bad name', service('    environment: { "1 2": x }'), /is no name for an environment variable/],
  ['a bad restart policy', service('    restart: sometimes'), /restart: must be one of no, always/],
  ['a restart count of zero', service('    restart: on-failure:0'), /restart: must be one of/],
  ['a size without sense', service('    mem_limit: 256 apples'), /mem_limit: must be a size/],
  ['a size below the limit', service('    mem_limit: 5m'), /mem_limit: must be at least 6m/],
  ['a negative size', service('    mem_limit: -1'), /mem_limit: must be a size/],
  ['no CPUs', service('    cpus: 0'), /cpus: must be a number of CPUs/],
  ['CPUs that are no number', service('    cpus: .nan'), /cpus: must be a number of CPUs/],
  ['a priority above 1000', service('    x-obu: { priority: 1001 }'), /priority: must be a whole number of 0\.\.1000/],
  ['a priority word nobody knows', service('    x-obu: { priority: urgent }'), /priority: must be .*safety, high/],
  ['a prototype as priority', service('    x-obu: { priority: constructor }'), /priority: must be/],
  [
    'an actuate scope',
    grants('        signals: ["actuate:Vehicle.Speed"]'),
    /:6: .*`actuate:` scopes are not supported/,
  ],
  ['a scope without action', grants('        signals: [Vehicle.Speed]'), /signals\.0: "Vehicle\.Speed" is no scope/],
  ['a scope with a bad path', grants('        signals: ["read:Vehicle..Speed"]'), /is no scope/],
  [
    'a write grant',
    grants('        can: [{ bus: can0, read: ["1:7"], write: [] }]'),
    /can\.0\.write: is not supported/,
  ],
  [
    'as: interface',
    grants('        can: [{ bus: can0, read: ["1:7"], as: interface }]'),
    /can\.0\.as: `interface` is not/,
  ],
  ['as: anything', grants('        can: [{ bus: can0, read: ["1:7"], as: file }]'), /can\.0\.as: must be `socket`/],
  ['no filter', grants('        can: [{ bus: can0, read: [] }]'), /can\.0\.read: is empty/],
  [
    'a bad filter',
    grants('        can:\n          - bus: can0\n            read: ["1:7", "xyz"]'),
    /:8: .*read\.1: .*xyz/,
  ],
  [
    'a bus twice',
    grants('        can: [{ bus: can0, read: ["1:7"] }, { bus: can0, read: ["1:7"] }]'),
    /can\.1\.bus: bus "can0" is granted twice/,
  ],
  [
    'a camera without rate',
    grants('        cameras: [{ name: front }]'),
    /cameras\.0\.maxFps: must be pictures per second/,
  ],
  ['a camera rate of zero', grants('        cameras: [{ name: front, maxFps: 0 }]'), /maxFps: must be above 0/],
  ['an endless camera rate', grants('        cameras: [{ name: front, maxFps: .inf }]'), /maxFps: must be/],
  ['a budget below 1', grants('        offload: { tasks: [t], maxBudgetMs: 0 }'), /maxBudgetMs: must be at least 1/],
  ['no task', grants('        offload: { tasks: [], maxBudgetMs: 5 }'), /tasks: is empty/],
  ['a typo in offload', grants('        offload: { tasks: [t], maxBudget: 5 }'), /did you mean `maxBudgetMs`\?/],
];

describe('a manifest is refused, by file, line and key, for', () => {
  it.each(bad)('%s', (_name, text, message) => {
    const lines = problemLines(failureOf(text));
    expect(lines.join('\n')).toMatch(message);
    for (const line of lines) expect(line).toMatch(/^car\.yaml:\d+: \S/);
  });

  it('bytes that are no YAML, in a few short lines', () => {
    const bytes = Array.from({ length: 50_000 }, (_, i) => String.fromCharCode((i * i * 7) % 251)).join('');
    const lines = problemLines(failureOf(bytes));
    expect(lines.length).toBeLessThanOrEqual(5);
    for (const line of lines) expect(line.length).toBeLessThan(400);
  });

  it('aliases that blow up', () => {
    let text = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
    for (let i = 1; i < 9; i++)
      text += `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(', ')}]\n`;
    expect(failureOf(text).message).toMatch(/alias/i);
  });
});
