import { expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { isKerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { rounds } from '../../test/support/rounds.ts';
import { parseObuConfig } from '../config/config.ts';
import { parseManifest } from './manifest.ts';

/** Has every kind of key; each value is put in the place of each of its values. */
const manifest = `
services:
  a:
    image: x:1
    command: [a]
    environment: { A: b }
    restart: "no"
    depends_on: { b: { condition: service_started } }
    healthcheck: { test: [CMD, x], interval: 1s, retries: 2, disable: false }
    mem_limit: 64m
    cpus: 0.5
    cpuset: "0"
    pids_limit: 5
    ulimits: { nofile: { soft: 1, hard: 2 } }
    tmpfs: [/x:size=1m]
    user: u
    init: true
    stop_signal: SIGTERM
    stop_grace_period: 1s
    hostname: h
    labels: { a: b }
    x-obu:
      priority: 5
      preemption: stop
      requires: [camera/front]
      update: { strategy: hand-over, rollback: on-unhealthy, when: now }
      data: 1m
      grants:
        signals: ["read:Vehicle.Speed"]
        can: [{ bus: can0, read: ["1:7"], write: [{ id: "1", len: 8 }], when: Vehicle.Speed < 3 }]
        cameras: [{ name: front, maxFps: 5 }]
        offload: { tasks: [t], maxBudgetMs: 5 }
  b: { image: y:1 }
`;
const config = `
vehicle: v
obu: o
identity: id
buses: { can0: { kind: userspace, socket: s, bitrate: 500000 } }
signals: { dbc: { can0: [a.dbc] }, mapping: [x], defaults: [x] }
cameras: { front: { source: "file:x" } }
tasks: { t: "sha256:${'00'.repeat(32)}" }
brokers: [{ id: b, url: "https://b:1" }]
capacity: { memory: 1g, cpus: 2 }
parked: Vehicle.Speed == 0
onStop: keep
api: { listen: "0.0.0.0:1", operators: [a] }
`;

const strangers: unknown[] = [null, 5, -1, 1.5, true, 'x', '', [], [1], {}, { a: 1 }, [null], [{}], [[1]]];
/** What schemas and JavaScript say by themselves. */
const foreign = /invalid (input|option|string)|received|unrecognized key|too (big|small)|\[object|undefined|NaN/i;

function* pathsIn(value: unknown, at: readonly string[] = []): Generator<readonly string[]> {
  if (at.length > 0) yield at;
  if (value === null || typeof value !== 'object') return;
  for (const [key, item] of Object.entries(value)) yield* pathsIn(item, [...at, key]);
}

function replaced(text: string, path: readonly string[], value: unknown): string {
  const all = parse(text) as Record<string, unknown>;
  let here = all;
  for (const step of path.slice(0, -1)) here = here[step] as Record<string, unknown>;
  here[path.at(-1)!] = value;
  return stringify(all);
}

it.each([
  ['manifest', manifest, (text: string) => parseManifest(text, 'car.yaml')],
  ['configuration', config, (text: string) => parseObuConfig(text, 'car.yaml')],
])(
  'whatever stands where in a %s, it is taken or refused with its line in our own words',
  (_what, text, read) => {
    expect(() => read(text)).not.toThrow();
    let refused = 0;
    // Every third pair in the short form: of fourteen values, so that each path meets others than the one before it.
    let pairs = 0;
    for (const path of pathsIn(parse(text))) {
      for (const value of strangers) {
        if (pairs++ % rounds(3, 1) !== 0) continue;
        try {
          read(replaced(text, path, value));
        } catch (error) {
          if (!isKerbError(error)) throw error;
          refused++;
          for (const line of problemLines(error)) {
            expect(line).toMatch(/^car\.yaml:\d+: /);
            expect(line).not.toMatch(foreign);
          }
        }
      }
    }
    expect(refused).toBeGreaterThan(100);
  },
  60_000,
);
