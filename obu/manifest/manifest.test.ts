import { describe, expect, it } from 'vitest';
import { ErrorCode, isKerbError, type KerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { parseManifest } from './manifest.ts';
import { readGrants } from './stored-grants.ts';

const whole = `
services:
  lane-warning:
    image: lane-warning:1
    command: node /app/main.ts --name "two words"
    environment: { ZONE: b, LEVEL: 3 }
    restart: on-failure:5
    depends_on:
      once: { condition: service_completed_successfully }
      bare: { condition: service_healthy }
    healthcheck: { test: ["CMD", "/health"], interval: 2s, retries: 3, start_period: 1m30s }
    mem_limit: 256m
    mem_reservation: 128m
    cpus: "0.5"
    cpuset: 0,2-3
    pids_limit: 64
    ulimits: { nofile: { soft: 100, hard: 200 }, memlock: -1 }
    shm_size: 1m
    tmpfs: ["/var/log:size=16m,mode=0700,uid=7,gid=7", /cache]
    user: 1000
    working_dir: /app
    init: true
    hostname: lane
    labels: { b: x=y, a: 1 }
    stop_signal: INT
    stop_grace_period: 2s500ms
    read_only: true
    network_mode: none
    x-obu:
      priority: high
      preemption: freeze
      outsource: preferred
      requires: [camera/front, bus/can0, camera/front]
      update: { strategy: hand-over, rollback: never, when: parked }
      grants:
        signals:
          - "read:Vehicle.Speed"
          - "read:Vehicle.Cabin.*"
          - "read:Vehicle.Speed"
          - "!read:Vehicle.Cabin.Seat"
          - "actuate:Vehicle.Cabin.HVAC"
        can:
          - bus: can0
            read: ["100:700", "00012345:1FFFFFFF"]
            write: [{ id: "3E9", len: 8, maxRate: 10/s }, { id: "18DA00F1" }]
            as: socket
            when: Vehicle.IsMoving == false
          - { bus: can1, write: [{ id: "1" }], as: interface }
        cameras: [{ name: front, maxFps: 10 }]
        offload: { tasks: ["dashcam-filter"], maxBudgetMs: 500 }
  bare:
    image: team/bare
  once:
    image: once:1
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
    expect(parseManifest(whole, 'car.yaml').slice(0, 2)).toEqual([
      {
        name: 'bare',
        image: 'team/bare:latest',
        command: undefined,
        entrypoint: undefined,
        environment: {},
        restart: { policy: 'no' },
        memLimit: undefined,
        cpus: undefined,
        memReservation: undefined,
        cpuset: undefined,
        pidsLimit: 256,
        ulimits: {},
        shmSize: undefined,
        tmpfs: {},
        user: undefined,
        workingDir: undefined,
        init: false,
        hostname: undefined,
        labels: {},
        healthcheck: undefined,
        dependsOn: [],
        stopSignal: undefined,
        stopGraceMs: 5000,
        priority: 500,
        preemption: 'stop',
        outsource: 'allowed',
        requires: [],
        update: { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' },
        grants: readGrants({ signals: [], can: [], cameras: [] }),
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
        memReservation: 134_217_728,
        cpuset: '0,2-3',
        pidsLimit: 64,
        ulimits: { memlock: { soft: -1, hard: -1 }, nofile: { soft: 100, hard: 200 } },
        shmSize: 1_048_576,
        tmpfs: { '/cache': 'mode=1777,size=67108864', '/var/log': 'gid=7,mode=0700,size=16777216,uid=7' },
        user: '1000',
        workingDir: '/app',
        init: true,
        hostname: 'lane',
        labels: { a: '1', b: 'x=y' },
        healthcheck: {
          test: ['CMD', '/health'],
          intervalMs: 2000,
          timeoutMs: 30_000,
          retries: 3,
          startPeriodMs: 90_000,
        },
        dependsOn: [
          { workload: 'bare', condition: 'healthy' },
          { workload: 'once', condition: 'completed' },
        ],
        stopSignal: 'SIGINT',
        stopGraceMs: 2500,
        priority: 750,
        preemption: 'freeze',
        outsource: 'preferred',
        requires: ['bus/can0', 'camera/front'],
        update: { strategy: 'hand-over', rollback: 'never', when: 'parked' },
        grants: readGrants({
          signals: [
            '!read:Vehicle.Cabin.Seat',
            'actuate:Vehicle.Cabin.HVAC',
            'read:Vehicle.Cabin.*',
            'read:Vehicle.Speed',
          ],
          can: [
            {
              bus: 'can0',
              read: ['100:700', '00012345:1FFFFFFF'],
              write: [
                { id: 0x3e9, ext: false, length: 8, maxPerSecond: 10 },
                { id: 0x18da00f1, ext: true, length: undefined, maxPerSecond: undefined },
              ],
              as: 'socket',
              when: 'Vehicle.IsMoving == false',
            },
            {
              bus: 'can1',
              read: [],
              write: [{ id: 1, ext: false, length: undefined, maxPerSecond: undefined }],
              as: 'interface',
              when: undefined,
            },
          ],
          cameras: [{ name: 'front', maxFps: 10 }],
          offload: { tasks: ['dashcam-filter'], maxBudgetMs: 500 },
        }),
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
      'car.yaml:40: services.lane-warning.x-obu.grants.signals[3]: this OBU has no signal "Vehicle.Cabin.Seat"; the nearest that it has is the branch "Vehicle.Cabin"',
      'car.yaml:41: services.lane-warning.x-obu.grants.signals[4]: this OBU has no signal "Vehicle.Cabin.HVAC"; the nearest that it has is the branch "Vehicle.Cabin"',
      'car.yaml:43: services.lane-warning.x-obu.grants.can[0].bus: this OBU has no bus "can0"; it has can1',
      'car.yaml:47: services.lane-warning.x-obu.grants.can[0].when: this OBU has no signal "Vehicle.IsMoving"; the nearest that it has is the branch "Vehicle"',
      'car.yaml:49: services.lane-warning.x-obu.grants.cameras[0].name: this OBU has no camera "front"; it has no camera at all',
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
      `car.yaml:9: services.a.x-obu.grants.signals[2]: this OBU has no signal "${path}"; ${advice}`,
    ]);
    expect(parseManifest(text, 'car.yaml')).toHaveLength(1);
  });

  it('may speak of a signal that one of its workloads provides', () => {
    const provides = '  b: { image: x, x-obu: { grants: { signals: ["provide:Vehicle.Driver.Fatigue"] } } }\n';
    const reads = grants('        signals: ["read:Vehicle.Driver.Fatigue"]\n');
    const offers = { buses: [], cameras: [], tasks: [], signals: ['Vehicle.Speed'] };
    expect(parseManifest(reads + provides, 'car.yaml', offers)).toHaveLength(2);
    expect(failureOf(reads, offers).message).toMatch(/no signal "Vehicle.Driver.Fatigue"/);
    // A path that names many signals is not one that somebody provides.
    expect(failureOf(reads + provides.replace('Driver.Fatigue', '*.Fatigue'), offers).message).toMatch(/no signal/);
  });

  it('may not make a condition of a branch', () => {
    const text = grants('        can: [{ bus: can0, write: [{ id: "1" }], when: "Vehicle.Cabin == 1" }]');
    const offers = { buses: ['can0'], cameras: [], tasks: [], signals: ['Vehicle.Cabin.Door'] };
    expect(failureOf(text, offers).message).toMatch(/:6: .*can\[0\]\.when: "Vehicle\.Cabin" is a branch/);
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

const can = (rest: string) => grants(`        can: [{ bus: can0, ${rest} }]`);

const bad: readonly [string, string, RegExp][] = [
  ['nothing at all', '', /^car\.yaml:1: must be a map with the key `services`/],
  ['a list', '- a', /^car\.yaml:1: must be a map/],
  ['no services', 'services: {}', /:1: services: names no service/],
  ['text that is no YAML', 'services:\n  a: [', /^car\.yaml:\d+: /],
  ['two documents', 'services: {}\n---\nservices: {}', /^car\.yaml:2: .*second document/],
  ['a key twice', 'services:\n  a: { image: x }\n  a: { image: y }', /:3: .*unique/],
  ['an alias to nothing', 'services:\n  a: *nowhere', /^car\.yaml:\d+: .*nowhere/],
  ['a typo at the top', 'servces: {}', /:1: servces: unknown key; did you mean `services`\?/],
  ['Compose volumes at the top', 'volumes: {}\nservices: { a: { image: x } }', /:1: volumes: is a key of Compose/],
  ['a service without image', 'services:\n  a: { cpus: 1 }', /:2: services\.a\.image: must name an image/],
  ['a service that is text', 'services:\n  a: x', /:2: services\.a: must be a map with at least `image`/],
  ['a name with a slash', 'services:\n  ../../etc: { image: x }', /:2: services\.\.\.\/\.\.\/etc: a name has/],
  ['a name of 64 letters', `services:\n  ${'a'.repeat(64)}: { image: x }`, /a name has 1 to 63/],
  ['a bad image', 'services:\n  a: { image: "X Y" }', /:2: services\.a\.image: is not a valid image name/],
  ['a typo in a service', service('    memlimit: 1g'), /:4: services\.a\.memlimit: .*did you mean `mem_limit`\?/],
  ['ports', service('    ports: [80]'), /:4: services\.a\.ports: is a key of Compose.*no network/],
  ['volumes', service('    volumes: ["/:/host"]'), /:4: services\.a\.volumes: .*\/data/],
  ['privileged', service('    privileged: true'), /:4: services\.a\.privileged: .*x-obu\.grants/],
  ['an empty healthcheck', service('    healthcheck: {}'), /:4: services\.a\.healthcheck: must have `test`/],
  ['a healthcheck of numbers', service('    healthcheck: { test: [1] }'), /healthcheck\.test: must be a line/],
  ['a healthcheck without program', service('    healthcheck: { test: [CMD] }'), /healthcheck\.test: must be \["CMD"/],
  ['a healthcheck without CMD', service('    healthcheck: { test: [/health] }'), /healthcheck\.test: must be \["CMD"/],
  ['two lines for the shell', service('    healthcheck: { test: [CMD-SHELL, a, b] }'), /healthcheck\.test: must be/],
  ['an interval of nothing', service('    healthcheck: { test: a, interval: 0s }'), /interval: must be 100ms to 1h/],
  ['an interval without unit', service('    healthcheck: { test: a, interval: 30 }'), /interval: must be a duration/],
  ['no retries', service('    healthcheck: { test: a, retries: 0 }'), /retries: must be a number of checks, a whole/],
  [
    'what is disabled and has a test',
    service('    healthcheck: { test: a, disable: true }'),
    /healthcheck\.test: nothing/,
  ],
  [
    'start_interval',
    service('    healthcheck: { test: a, start_interval: 1s }'),
    /start_interval: is a key of Compose/,
  ],
  ['a typo in healthcheck', service('    healthcheck: { test: a, intervall: 1s }'), /did you mean `interval`\?/],
  [
    'a dependency on nobody',
    service('    depends_on:\n      - a2\n      - bb'),
    /:6: .*depends_on\.bb: there is no service "bb"$/m,
  ],
  [
    'a dependency with a typo',
    `${service('    depends_on: [recordr]')}\n  recorder: { image: x }`,
    /mean "recorder"\?/,
  ],
  ['a dependency on itself', service('    depends_on: [a]'), /:4: .*depends_on\.a: it waits for itself/],
  [
    'a circle of dependencies, at the line of one',
    'services:\n  a: { image: x, depends_on: [b] }\n  b:\n    image: x\n    depends_on:\n      c: { condition: service_started }\n' +
      '  c: { image: x, depends_on: [b] }',
    /:6: services\.b\.depends_on\.c: it waits for b → c → b/,
  ],
  [
    'a dependency twice',
    `${service('    depends_on: [b, b]')}\n  b: { image: x }`,
    /depends_on\[1\]: "b" is there twice/,
  ],
  ['a dependency without condition', service('    depends_on: { b: {} }'), /depends_on\.b\.condition: must be one of/],
  ['a dependency that is text', service('    depends_on: { b: yes }'), /depends_on\.b: must be a map with `condition`/],
  ['a condition nobody knows', service('    depends_on: { b: { condition: up } }'), /must be one of service_started/],
  [
    'a typo beside a condition',
    service('    depends_on: { b: { condition: service_started, restart: true } }'),
    /depends_on\.b: has `restart`, and only `condition` is taken/,
  ],
  [
    'the health of what has no check',
    `${service('    depends_on: { b: { condition: service_healthy } }')}\n  b: { image: x, healthcheck: { disable: true } }`,
    /depends_on\.b: "b" is never healthy/,
  ],
  [
    'the completion of what never ends',
    `${service('    depends_on: { b: { condition: service_completed_successfully } }')}\n  b: { image: x, restart: always }`,
    /depends_on\.b: "b" never completes/,
  ],
  [
    'a reservation above the limit',
    service('    mem_limit: 64m\n    mem_reservation: 65m'),
    /:5: .*mem_reservation: must not/,
  ],
  ['no processes', service('    pids_limit: -1'), /pids_limit: must be a number of processes/],
  [
    'a real-time priority',
    service('    ulimits: { rtprio: 99 }'),
    /ulimits\.rtprio: no workload may .*x-obu\.priority/,
  ],
  [
    'a limit nobody knows',
    service('    ulimits: { files: 1 }'),
    /ulimits\.files: no workload may set this limit; there/,
  ],
  [
    'a soft limit above the hard',
    service('    ulimits: { core: { soft: 2, hard: 1 } }'),
    /core: soft must not be above/,
  ],
  ['a limit that is text', service('    ulimits: { core: many }'), /ulimits\.core: must be a number, or/],
  ['a folder in memory that is taken', service('    tmpfs: /proc/x'), /tmpfs\[0\]: \/proc\/x is something else/],
  ['a folder in memory that goes up', service('    tmpfs: [/a, /a/../..]'), /tmpfs\[1\]: must be a path without/],
  ['a folder in memory twice', service('    tmpfs: [/a, "/a:size=1m"]'), /tmpfs: \/a is there twice/],
  ['an option to execute', service('    tmpfs: "/a:exec"'), /tmpfs\[0\]: "exec" is not a valid option of tmpfs/],
  ['a relative working_dir', service('    working_dir: app'), /working_dir: must be an absolute path/],
  ['a user with a space', service('    user: "a b"'), /user: must be USER or USER:GROUP/],
  ['a signal nobody knows', service('    stop_signal: SIGWHAT'), /stop_signal: must be the name of a signal/],
  ['a grace of minutes', service('    stop_grace_period: 2m'), /stop_grace_period: must be 0s to 45s/],
  ['a label of ours', service('    labels: { kerbside.owner: x }'), /labels: kerbside\.owner: labels that begin with/],
  ['a host name with a dot', service('    hostname: a.b'), /hostname: must be a host name/],
  ['a CPU that is none', service('    cpuset: fast'), /cpuset: must be CPUs such as/],
  ['a root that can be written', service('    read_only: false'), /read_only: a root file system is always read-only/],
  ['the network of the host', service('    network_mode: host'), /network_mode: a workload has no network/],
  ['a file of variables', service('    env_file: .env'), /env_file: .*a manifest is one file/],
  [
    'preemption',
    service('    x-obu: { preemption: kill }'),
    /:4: .*x-obu\.preemption: must be one of freeze, stop, never/,
  ],
  ['outsource', service('    x-obu: { outsource: maybe }'), /x-obu\.outsource: must be one of allowed/],
  ['requires', service('    x-obu: { requires: [gps] }'), /x-obu\.requires\[0\]: must be camera\/NAME or bus\/NAME/],
  ['update', service('    x-obu: { update: { strategy: fast } }'), /update\.strategy: must be one of kill-then-start/],
  ['a typo in update', service('    x-obu: { update: { rolback: never } }'), /did you mean `rollback`\?/],
  ['a typo in x-obu', service('    x-obu:\n      priorty: 1'), /:5: .*x-obu\.priorty: .*did you mean `priority`\?/],
  ['x-obu with a typo', service('    x-obo: {}'), /:4: services\.a\.x-obo: .*did you mean `x-obu`\?/],
  ['an open quote', service(`    command: node "main`), /:4: services\.a\.command: a quote is not closed/],
  ['an empty command', service('    command: []'), /command: is empty/],
  ['a command of maps', service('    command: [{}]'), /command: must be a list of strings/],
  ['a variable without value', service('    environment: [HOME]'), /environment: HOME has no value/],
  ['a variable set twice', service('    environment: [A=1, A=2]'), /environment: A is set twice/],
  ['a variable of ours', service('    environment: { KERBSIDE_GATEWAY: /x }'), /belong to the OBU/],
  [
    'a variable with a bad name',
    service('    environment: { "1 2": x }'),
    /is not a valid name for an environment variable/,
  ],
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
    'a scope without action',
    grants('        signals: [Vehicle.Speed]'),
    /signals\[0\]: "Vehicle\.Speed" is not a valid scope/,
  ],
  [
    'an action of Kuksa that grants nothing here',
    grants('        signals: ["create:Vehicle"]'),
    /signals\[0\]: .*not a valid scope/,
  ],
  ['a scope with a bad path', grants('        signals: ["read:Vehicle..Speed"]'), /is not a valid scope/],
  [
    'as: anything',
    grants('        can: [{ bus: can0, read: ["1:7"], as: file }]'),
    /can\[0\]\.as: must be one of socket, i/,
  ],
  [
    'as: interface with a rate',
    grants('        can: [{ bus: can0, write: [{ id: "3E9", maxRate: 10/s }], as: interface }]'),
    /can\[0\]\.as: the kernel cannot hold id 3E9 to a rate; use `as: socket`/,
  ],
  ['a bus of which nothing is granted', grants('        can: [{ bus: can0 }]'), /can\[0\]: grants nothing/],
  ['an id that is a number', can('write: [{ id: 123 }]'), /write\[0\]\.id: must be an id in hex, in quotes/],
  ['an id that YAML takes for 3e9', can('write: [{ id: 3E9 }]'), /write\[0\]\.id: must be an id in hex, in quotes/],
  ['an id above 7FF', can('write: [{ id: "800" }]'), /write\[0\]\.id: "800" is above 7FF/],
  ['an id above 29 bits', can('write: [{ id: "20000000" }]'), /write\[0\]\.id: "20000000" is above 1FFFFFFF/],
  ['an id of five digits', can('write: [{ id: "12345" }]'), /write\[0\]\.id: "12345" is not a valid id/],
  ['an id twice', can('write: [{ id: "1" }, { id: "001" }]'), /write\[1\]\.id: this id with this length is/],
  ['a length of nine', can('write: [{ id: "1", len: 9 }]'), /write\[0\]\.len: must be one of 0, 1/],
  ['a rate without unit', can('write: [{ id: "1", maxRate: 10 }]'), /write\[0\]\.maxRate: must be frames per second/],
  ['a rate of nothing', can('write: [{ id: "1", maxRate: 0/s }]'), /write\[0\]\.maxRate: must be frames per second/],
  ['an empty list of writes', can('write: []'), /can\[0\]\.write: is empty/],
  ['a typo in a write', can('write: [{ id: "1", maxrate: 1/s }]'), /did you mean `maxRate`\?/],
  [
    'a condition that is none',
    can('write: [{ id: "1" }], when: "Vehicle.Speed <"'),
    /can\[0\]\.when: condition .*it ends/,
  ],
  [
    'a condition with nothing to hold back',
    can('read: ["1:7"], when: "A == 1"'),
    /can\[0\]\.when: holds back what is sent/,
  ],
  ['no filter', grants('        can: [{ bus: can0, read: [] }]'), /can\[0\]\.read: is empty/],
  [
    'a bad filter',
    grants('        can:\n          - bus: can0\n            read: ["1:7", "xyz"]'),
    /:8: .*read\[1\]: .*xyz/,
  ],
  [
    'a bus twice',
    grants('        can: [{ bus: can0, read: ["1:7"] }, { bus: can0, read: ["1:7"] }]'),
    /can\[1\]\.bus: bus "can0" is granted twice/,
  ],
  [
    'a camera without rate',
    grants('        cameras: [{ name: front }]'),
    /cameras\[0\]\.maxFps: must be pictures per second/,
  ],
  ['a camera rate of zero', grants('        cameras: [{ name: front, maxFps: 0 }]'), /maxFps: must be above 0/],
  ['an endless camera rate', grants('        cameras: [{ name: front, maxFps: .inf }]'), /maxFps: must be/],
  ['a budget below 1', grants('        offload: { tasks: [t], maxBudgetMs: 0 }'), /maxBudgetMs: must be at least 1/],
  [
    'an unknown kind of place',
    grants('        offload: { tasks: [t], maxBudgetMs: 5, places: [moon] }'),
    /places.*must be one of here, peer/,
  ],
  ['no kind of place', grants('        offload: { tasks: [t], maxBudgetMs: 5, places: [] }'), /places: is empty/],
  [
    'a cost below 0',
    grants('        offload: { tasks: [t], maxBudgetMs: 5, maxCost: -1 }'),
    /maxCost: must be at least 0/,
  ],
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

describe('a healthcheck', () => {
  it.each([
    ['test: curl -f x', ['CMD-SHELL', 'curl -f x']],
    ['test: [CMD, a, b]', ['CMD', 'a', 'b']],
    ['test: [CMD-SHELL, a b]', ['CMD-SHELL', 'a b']],
    ['test: [NONE]', ['NONE']],
    ['disable: true', ['NONE']],
    ['test: a, disable: false', ['CMD-SHELL', 'a']],
  ])('may be written { %s }', (text, test) => {
    expect(parseManifest(service(`    healthcheck: { ${text} }`), 'car.yaml')[0]!.healthcheck).toMatchObject({ test });
  });
});
