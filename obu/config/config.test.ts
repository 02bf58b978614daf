import { describe, expect, it } from 'vitest';
import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { parseObuConfig } from './config.ts';

const DIGEST = `sha256:${'0f'.repeat(32)}`;
const MIB = 2 ** 20;
const whole = `
vehicle: demo-car
obu: obu-1
buses:
  can0: { kind: userspace, socket: run/can0.bus, bitrate: 250000 }
  can1: {}
signals:
  dbc: { can0: [car.dbc] }
  mapping: [/etc/car.vss.yaml]
  vss: [vss.json]
  defaults: [defaults.json]
  sources: { Vehicle.Cabin.*.IsOpen: [can1, my-app] }
cameras: { front: { source: "sim:/run/road.sock" } }
brokers: [{ id: rsu-1, url: "https://127.0.0.1:7443" }]
identity: identity/vehicle
tasks: { dashcam-filter: "${DIGEST}" }
`;

describe('the configuration of an OBU', () => {
  it('becomes absolute and complete', () => {
    expect(parseObuConfig(whole, '/etc/kerbside/obu.yaml')).toEqual({
      vehicle: 'demo-car',
      obu: 'obu-1',
      buses: [
        {
          name: 'can0',
          kind: 'userspace',
          interface: undefined,
          socket: '/etc/kerbside/run/can0.bus',
          bitrate: 250_000,
        },
        { name: 'can1', kind: 'auto', interface: undefined, socket: undefined, bitrate: 500_000 },
      ],
      signals: {
        dbc: new Map([['can0', ['/etc/kerbside/car.dbc']]]),
        mapping: ['/etc/car.vss.yaml'],
        vss: ['/etc/kerbside/vss.json'],
        defaults: ['/etc/kerbside/defaults.json'],
        sources: new Map([['Vehicle.Cabin.*.IsOpen', ['can1', 'my-app']]]),
      },
      cameras: [{ name: 'front', source: 'sim:/run/road.sock', recording: undefined }],
      brokers: [{ id: 'rsu-1', url: 'https://127.0.0.1:7443' }],
      identity: '/etc/kerbside/identity/vehicle',
      tasks: new Map([['dashcam-filter', DIGEST]]),
      runtime: {
        capacity: {},
        reserve: { memory: expect.any(Number), cpus: 0.25 },
        undeclared: { memory: 64 * MIB, cpus: 0.1 },
        data: { limit: 1024 * MIB, keepFree: 256 * MIB },
        pressure: { memory: 20, cpu: 90 },
        parked: expect.objectContaining({ text: 'Vehicle.Speed == 0' }),
        onStop: 'stop',
      },
    });
  });

  it('takes what it says about workloads as a whole', () => {
    const text =
      'vehicle: a\nobu: b\ncapacity: { memory: 1g, cpus: 2 }\nreserve: { memory: 100m }\nundeclared: { cpus: 0 }\ndata: { limit: 64m }\n' +
      'pressure: { cpu: 50 }\nparked: Vehicle.Speed < 1\nonStop: keep';
    expect(parseObuConfig(text, 'obu.yaml').runtime).toMatchObject({
      capacity: { memory: 1024 * MIB, cpus: 2 },
      reserve: { memory: 100 * MIB, cpus: 0.25 },
      undeclared: { memory: 64 * MIB, cpus: 0 },
      data: { limit: 64 * MIB, keepFree: 256 * MIB },
      pressure: { memory: 20, cpu: 50 },
      parked: { text: 'Vehicle.Speed < 1' },
      onStop: 'keep',
    });
  });

  it('needs no more than a vehicle and an OBU', () => {
    expect(parseObuConfig('vehicle: a\nobu: b\n', 'obu.yaml')).toMatchObject({ buses: [], brokers: [], cameras: [] });
  });

  it('records a camera as it says, and as usual where it says nothing', () => {
    const recordingOf = (text: string) =>
      parseObuConfig(`vehicle: a\nobu: b\ncameras: { c: { source: "sim:/x", recording: ${text} } }`, '/etc/obu.yaml')
        .cameras[0]!.recording;
    const keep = { maxBytes: 2 * 1024 ** 3, maxAgeMs: 86_400_000, maxLockedBytes: 1024 ** 3 };
    expect(recordingOf('{}')).toEqual({ folder: undefined, codec: 'h264', fps: 15, keep, lock: undefined });
    const text =
      '{ folder: rec, codec: mjpeg, fps: 5, keep: { size: 100m, age: 1h, locked: 0 }, lock: { when: "V.A == 1", after: 5s } }';
    expect(recordingOf(text)).toMatchObject({
      folder: '/etc/rec',
      keep: { maxBytes: 100 * 1024 ** 2, maxAgeMs: 3_600_000, maxLockedBytes: 0 },
      lock: { when: { text: 'V.A == 1' }, beforeMs: 30_000, afterMs: 5000 },
    });
  });

  const recorded = (text: string) => `vehicle: a\nobu: b\ncameras:\n  c: { source: "sim:/x", recording: ${text} }`;
  const bad: readonly [string, string, RegExp][] = [
    ['nothing', '', /^obu\.yaml:1: must be a map/],
    ['no vehicle', 'obu: b', /vehicle: must be an id/],
    ['an id with a slash', 'vehicle: a/b\nobu: b', /:1: vehicle: an id has/],
    ['a typo', 'vehicle: a\nobu: b\nbusses: {}', /:3: busses: .*did you mean `buses`\?/],
    ['a typo in a bus', 'vehicle: a\nobu: b\nbuses: { can0: { bitrat: 1 } }', /buses\.can0\.bitrat: .*`bitrate`/],
    ['a typo in a recording', recorded('{ kep: {} }'), /:4: cameras\.c\.recording\.kep: .*`keep`/],
    ['a typo in what is kept', recorded('{ keep: { sise: 1g } }'), /recording\.keep\.sise: .*`size`/],
    ['a size that is none', recorded('{ keep: { size: lots } }'), /keep\.size: must be a size such as 500m/],
    ['an age that is none', recorded('{ keep: { age: old } }'), /keep\.age: must be a duration such as 30s/],
    ['a condition that is none', recorded('{ lock: { when: "V.A = 1" } }'), /lock\.when: condition "V\.A = 1": cannot/],
    ['a codec that is none', recorded('{ codec: av1 }'), /codec: must be h264 or mjpeg/],
    ['a rate that is none', recorded('{ fps: 0 }'), /fps: must be above 0/],
    ['an unknown kind of bus', 'vehicle: a\nobu: b\nbuses: { can0: { kind: lin } }', /kind: must be auto, socketcan/],
    [
      'no path of sources',
      'vehicle: a\nobu: b\nsignals: { sources: { "Vehicle..A": [x] } }',
      /must be a map from VSS path to sources/,
    ],
    [
      'signals of no bus',
      'vehicle: a\nobu: b\nsignals:\n  dbc: { can9: [x] }',
      /:4: signals\.dbc\.can9: there is no bus/,
    ],
    ['a gpsd without a host', 'vehicle: a\nobu: b\nsignals:\n  gpsd: { port: 1 }', /:4: signals\.gpsd\.host: /],
    ['a typo in gpsd', 'vehicle: a\nobu: b\nsignals: { gpsd: { host: h, hst: 1 } }', /gpsd\.hst: .*`host`/],
    ['a port that is none', 'vehicle: a\nobu: b\nsignals: { gpsd: { host: h, port: 0 } }', /gpsd\.port: must be 1 to/],
    [
      'a bad age',
      'vehicle: a\nobu: b\nsignals: { gpsd: { host: h, staleAfter: x } }',
      /gpsd\.staleAfter: must be a dur/,
    ],
    [
      'a kind of broker that is none',
      'vehicle: a\nobu: b\nidentity: i\nbrokers: [{ id: r, url: "https://x:1", kind: here }]',
      /:4: .*kind: must be roadside, cell, cloud or vehicle/,
    ],
    [
      'a cost below 0',
      'vehicle: a\nobu: b\nidentity: i\nbrokers: [{ id: r, url: "https://x:1", cost: -1 }]',
      /cost: must be at least 0/,
    ],
    ['plain http', 'vehicle: a\nobu: b\nidentity: i\nbrokers: [{ id: r, url: "http://x:1" }]', /url: must be https/],
    [
      'brokers without identity',
      whole.replace(/identity: .*\n/, ''),
      /:14: brokers: brokers are reached with an identity/,
    ],
    [
      'a broker twice',
      whole.replace(/brokers: .*/, 'brokers: [{ id: r, url: "https://a:1" }, { id: r, url: "https://b:1" }]'),
      /"r" is named twice/,
    ],
    ['a short digest', 'vehicle: a\nobu: b\ntasks: { t: "sha256:12" }', /:3: tasks\.t: must be sha256:/],
    ['a reserve without a unit', 'vehicle: a\nobu: b\nreserve: { memory: much }', /reserve\.memory: must be a size/],
    ['a typo in the capacity', 'vehicle: a\nobu: b\ncapacity: { cpu: 1 }', /capacity\.cpu: .*`cpus`/],
    ['CPUs below nothing', 'vehicle: a\nobu: b\nreserve: { cpus: -1 }', /reserve\.cpus: must be at least 0/],
    ['a pressure of 0 %', 'vehicle: a\nobu: b\npressure: { cpu: 0 }', /pressure\.cpu: must be above 0/],
    ['a condition that is none', 'vehicle: a\nobu: b\nparked: Vehicle.Speed', /:3: parked: condition "Vehicle\.Speed"/],
    ['an unknown way to stop', 'vehicle: a\nobu: b\nonStop: leave', /onStop: must be stop or keep/],
  ];
  it.each(bad)('is refused for %s', (_what, text, message) => {
    try {
      parseObuConfig(text, 'obu.yaml');
    } catch (error) {
      if (!isKerbError(error, ErrorCode.BadConfig)) throw error;
      expect(problemLines(error).join('\n')).toMatch(message);
      return;
    }
    throw new Error('it was taken');
  });
});

it('reads where the API is served, and for whom', () => {
  const text = (api: string) => `{ vehicle: car, obu: o, identity: id, api: ${api} }`;
  const { api } = parseObuConfig(text('{ listen: "[::]:7444", operators: [alice] }'), '/a/obu.yaml');
  expect(api).toEqual({ listen: { host: '::', port: 7444 }, operators: ['alice'] });
  expect(parseObuConfig(text('{ listen: "127.0.0.1:0" }'), '/a/obu.yaml').api!.operators).toEqual([]);
  expect(parseObuConfig('{ vehicle: car, obu: o }', 'obu.yaml').api).toBeUndefined();
});

it.each([
  ['{ listen: "7444" }', 'obu.yaml:1: api.listen: must be like 0.0.0.0:7444 or [::]:7444'],
  ['{ listen: 7444 }', 'obu.yaml:1: api.listen: must be HOST:PORT'],
  ['{ listen: "a:1", operators: [a, "b c"] }', 'obu.yaml:1: api.operators[1]: an id has 1 to 63'],
  ['{ listen: "a:1", operator: [a] }', 'did you mean `operators`?'],
  ['true', 'obu.yaml:1: api: must be a map with the key `listen`'],
])('refuses api: %s', (api, message) => {
  expect(() => parseObuConfig(`{ vehicle: car, obu: o, identity: id, api: ${api} }`, 'obu.yaml')).toThrow(message);
});

it('refuses an API without an identity', () => {
  expect(() => parseObuConfig('{ vehicle: car, obu: o, api: { listen: "a:1" } }', 'obu.yaml')).toThrow(
    'obu.yaml:1: api: the API is served with an identity: set `identity` to its directory',
  );
});
