import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseManifest } from '../manifest.ts';
import { keyTable, manifestJsonSchema, serviceKeys } from './json-schema.ts';

const root = join(import.meta.dirname, '../../..');
// Its strict mode complains of schemas that are legal: `minItems` beside `prefixItems`, and several types at once.
const validate = new Ajv2020({ strict: true, strictTuples: false, allowUnionTypes: true }).compile(
  manifestJsonSchema(),
);

const parserTakes = (text: string) => {
  try {
    parseManifest(text, 'a.yaml');
    return true;
  } catch {
    return false;
  }
};

const good = [
  'command: node main.ts',
  'command: [a, 1, true]',
  'environment: [A=1, B=]',
  'environment: { A: 1, B: x, C: true }',
  'restart: no',
  'restart: false',
  'restart: on-failure:3',
  'mem_limit: 64m',
  'mem_limit: 1.5 GB',
  'mem_limit: 67108864',
  'mem_reservation: 8M',
  'cpus: 0.5',
  'cpus: "2"',
  'cpus: ".5"',
  'cpuset: 0',
  'cpuset: "0,2-3"',
  'pids_limit: 10',
  'ulimits: { nofile: 10, core: { soft: 1, hard: -1 } }',
  'shm_size: 1m',
  'tmpfs: /a',
  'tmpfs: ["/a:size=1m"]',
  'user: 1000',
  'user: "app:audio"',
  'working_dir: /',
  'working_dir: /app',
  'init: true',
  'stop_signal: SIGINT',
  'stop_signal: RTMIN+3',
  'stop_grace_period: 1s500ms',
  'hostname: a-b',
  'labels: [a.b=1]',
  'labels: { a.b: 1 }',
  'read_only: true',
  'network_mode: none',
  'healthcheck: { test: x }',
  'healthcheck: { test: [CMD, a], interval: 1m30s, timeout: 1s, retries: 2, start_period: 0s }',
  'healthcheck: { disable: true }',
  'x-obu: {}',
  'x-obu: { priority: 1000, preemption: freeze, outsource: preferred, requires: [bus/can0] }',
  'x-obu: { priority: safety, update: { strategy: hand-over, rollback: never, when: parked } }',
  'x-obu: { grants: { signals: ["read:Vehicle.*.X", "!actuate:Vehicle", "provide:A"] } }',
  'x-obu: { grants: { can: [{ bus: can0, read: ["1:7", "#1", "00000001~1FFFFFFF"] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "3E9", len: 64, maxRate: 0.5/s }], as: socket, when: A == 1 }] } }',
  'x-obu: { grants: { cameras: [{ name: a, maxFps: 0.5 }], offload: { tasks: [a], maxBudgetMs: 1 } } }',
];

const bad = [
  'imagee: x',
  'command: []',
  'command: 1',
  'environment: { "1": x }',
  'environment: { KERBSIDE_X: x }',
  'environment: { A: [] }',
  'restart: maybe',
  'restart: true',
  'mem_limit: lots',
  'mem_limit: 5',
  'mem_limit: -1',
  'cpus: 0',
  'cpus: many',
  'cpuset: -1',
  'pids_limit: 0',
  'pids_limit: 1.5',
  'ulimits: { rtprio: 1 }',
  'ulimits: { core: { soft: 1 } }',
  'tmpfs: a',
  'user: "a b"',
  'user: -1',
  'working_dir: app',
  'init: 1',
  'stop_signal: "what?"',
  'stop_grace_period: 1',
  'stop_grace_period: 1d',
  'hostname: a.b',
  'labels: { kerbside.x: 1 }',
  'read_only: false',
  'network_mode: host',
  'healthcheck: []',
  'healthcheck: { test: [] }',
  'healthcheck: { test: [a] }',
  'healthcheck: { test: a, retries: 0 }',
  'depends_on: b',
  'depends_on: { b: { condition: up } }',
  'depends_on: { b: {} }',
  'x-obu: []',
  'x-obu: { priority: 1001 }',
  'x-obu: { priority: urgent }',
  'x-obu: { preemption: kill }',
  'x-obu: { outsource: yes }',
  'x-obu: { requires: [gps/a] }',
  'x-obu: { update: { when: never } }',
  'x-obu: { grant: {} }',
  'x-obu: { grants: { signals: ["write:A"] } }',
  'x-obu: { grants: { can: [{ read: ["1:7"] }] } }',
  'x-obu: { grants: { can: [{ bus: a, read: [] }] } }',
  'x-obu: { grants: { can: [{ bus: a, read: ["1"] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: 1 }] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "12345" }] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "1", len: 9 }] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "1", maxRate: 10 }] }] } }',
  'x-obu: { grants: { cameras: [{ name: a }] } }',
  'x-obu: { grants: { cameras: [{ name: a, maxFps: 0 }] } }',
  'x-obu: { grants: { offload: { tasks: [], maxBudgetMs: 1 } } }',
  'x-obu: { grants: { offload: { tasks: [a], maxBudgetMs: 0.5 } } }',
];

/** An editor can't add up, look up or compare: these the parser alone refuses. */
const beyondSchema = [
  'command: node "main',
  'mem_limit: 5m',
  'mem_limit: 8m, mem_reservation: 9m',
  'stop_signal: SIGWHAT',
  'stop_grace_period: 2m',
  'tmpfs: /proc',
  'depends_on: [nobody]',
  'environment: [A=1, A=2]',
  'healthcheck: {}',
  'x-obu: { grants: { can: [{ bus: a }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "FFF" }] }] } }',
  'x-obu: { grants: { can: [{ bus: a, write: [{ id: "1" }], when: "A ==" }] } }',
];

const manifest = (keys: string) => `services: { a: { image: "x:1", ${keys} } }`;

describe('the JSON schema for editors', () => {
  it.each(good)('and the parser take %s', (keys) => {
    expect([parserTakes(manifest(keys)), validate(parse(manifest(keys)))]).toEqual([true, true]);
  });
  it.each(bad)('and the parser refuse %s', (keys) => {
    expect([parserTakes(manifest(keys)), validate(parse(manifest(keys)))]).toEqual([false, false]);
  });
  it.each(beyondSchema)('takes %s, which only the parser refuses', (keys) => {
    expect([parserTakes(manifest(keys)), validate(parse(manifest(keys)))]).toEqual([false, true]);
  });
  it.each(['services: {}', 'services: { "A b": { image: x } }', 'services: { a: {} }', 'a: 1', '[]'])(
    'and the parser refuse %s as a whole',
    (text) => {
      expect([parserTakes(text), validate(parse(text))]).toEqual([false, false]);
    },
  );
  it('takes the example of the README', () => {
    const text = readFileSync(join(root, 'examples/workloads/car.compose.yaml'), 'utf8');
    expect([parserTakes(text), validate(parse(text))]).toEqual([true, true]);
  });
});

describe('the keys of a service', () => {
  it('have a sentence each', () => {
    const keys = serviceKeys();
    expect(keys.length).toBeGreaterThan(40);
    for (const { key, description } of keys) expect(description, key).toMatch(/\S/);
  });

  it('are in the reference as the schema has them', () => {
    expect(readFileSync(join(root, 'docs/reference/manifest.md'), 'utf8')).toContain(keyTable());
  });
});
