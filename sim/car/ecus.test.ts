import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CAR_DBC, CAR_MAPPING } from '../../cli/sim/can-command.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { loadVssMapping } from '../../shared/vss/vss-mapping.ts';
import { describeWhere } from '../../test/support/machine/not-run.ts';
import { Car, type CarState } from './car.ts';
import { compassHeading, EARTH_RADIUS, ecus, ORIGIN, positionOf, wheelSpeeds } from './ecus.ts';

const dbc = await loadDbc(CAR_DBC);
const mapping = await loadVssMapping(CAR_MAPPING);

function statesOf(seed: number, seconds: number): CarState[] {
  const car = new Car(seed);
  const states: CarState[] = [];
  for (let i = 0; i < seconds * 100; i++) {
    car.step();
    if (i % 10 === 0) states.push(car.state);
  }
  return states;
}

describe('car.dbc', () => {
  it('has what a small car has', () => {
    expect(dbc.warnings).toEqual([]);
    expect(dbc.messages.length).toBeGreaterThanOrEqual(12);
    const signals = dbc.messages.flatMap((message) => message.signals);
    expect(new Set(signals.map(({ bigEndian }) => bigEndian)).size).toBe(2);
    expect(dbc.messages.filter(({ ext }) => ext).length).toBeGreaterThan(0);
    expect(dbc.messages.filter(({ fd }) => fd).map(({ name }) => name)).toEqual(['WheelSpeeds']);
    expect(signals.some(({ isMultiplexer }) => isMultiplexer)).toBe(true);
    expect(dbc.messages.every(({ cycleMs, comment }) => cycleMs > 0 && comment !== '')).toBe(true);
  });

  it('has no two signals of one name, so that a mapping is never ambiguous', () => {
    const names = dbc.messages.flatMap((message) => message.signals.map(({ name }) => name));
    expect(new Set(names).size).toBe(names.length);
  });

  it('has no overlapping signals but multiplexed ones', () => {
    for (const message of dbc.messages) {
      const codec = compileMessage(message);
      const owner = new Map<number, string>();
      for (const { signal, writeRaw } of codec.signals) {
        const bits = new Uint8Array(message.length);
        // All bits set: -1, or the largest value.
        if (signal.float !== 'none') continue;
        writeRaw(bits, signal.signed ? -1 : signal.length > 53 ? 2 ** 53 : 2 ** signal.length - 1);
        for (let bit = 0; bit < message.length * 8; bit++) {
          if (((bits[bit >> 3]! >> (bit & 7)) & 1) === 0) continue;
          if (signal.mux === undefined) expect(owner.get(bit), `${message.name}.${signal.name}`).toBeUndefined();
          owner.set(bit, signal.name);
        }
      }
    }
  });

  it('is mapped to VSS, signal by signal', () => {
    const names = new Set(dbc.messages.flatMap((message) => message.signals.map(({ name }) => name)));
    expect(mapping.length).toBeGreaterThan(40);
    for (const { path, feed } of mapping) expect(names.has(feed!.signal), `${path}: ${feed!.signal}`).toBe(true);
  });
});

describe('the control units', () => {
  it('say every signal of every message, in range, throughout a drive', () => {
    const states = statesOf(4, 300);
    expect(Object.keys(ecus).sort()).toEqual(dbc.messages.map(({ name }) => name).sort());
    // One assertion for all of the 100,000 values: each would cost more than what it looks at.
    const wrong: string[] = [];
    for (const message of dbc.messages) {
      const codec = compileMessage(message);
      const seen = new Set<string>();
      for (const [i, state] of states.entries()) {
        const values = ecus[message.name]!(state, i);
        const decoded = codec.decode(codec.encode(values));
        const names = Object.keys(values);
        if (decoded.size !== names.length || !names.every((name) => decoded.has(name))) {
          wrong.push(`${message.name} has ${[...decoded.keys()]}, and not ${names}`);
        }
        for (const [name, value] of Object.entries(values)) {
          seen.add(name);
          if (typeof value !== 'number') continue;
          const { factor, float } = codec.signal(name).signal;
          const step = float === 'single' ? Math.abs(value) * 1e-6 + 1e-6 : factor / 2 + 1e-6;
          if (!(Math.abs(Number(decoded.get(name)) - value) <= step)) {
            wrong.push(`${message.name}.${name} is ${decoded.get(name)}, and not ${value}`);
          }
        }
      }
      expect([...seen].sort()).toEqual(message.signals.map(({ name }) => name).sort());
    }
    expect(wrong).toEqual([]);
  });

  it('know where the car is: the way on the globe is the way driven', () => {
    const states = statesOf(2, 120);
    let way = 0;
    for (let i = 1; i < states.length; i++) {
      const [a, b] = [positionOf(states[i - 1]!), positionOf(states[i]!)];
      // Haversine.
      const rad = Math.PI / 180;
      const dLat = (b.latitude - a.latitude) * rad;
      const dLon = (b.longitude - a.longitude) * rad;
      const h =
        Math.sin(dLat / 2) ** 2 + Math.cos(a.latitude * rad) * Math.cos(b.latitude * rad) * Math.sin(dLon / 2) ** 2;
      way += 2 * EARTH_RADIUS * Math.asin(Math.sqrt(h));
    }
    const driven = states.at(-1)!.distance - states[0]!.distance;
    expect(driven).toBeGreaterThan(500);
    expect(Math.abs(way - driven) / driven).toBeLessThan(0.01);
  });

  it('give the heading as a compass does', () => {
    const car = new Car(1).state;
    const at = (heading: number) => compassHeading({ ...car, heading });
    expect(at(Math.PI / 2)).toBeCloseTo(0, 9);
    expect(at(0)).toBe(90);
    expect(at(-Math.PI / 2)).toBe(180);
    expect(at(Math.PI)).toBe(270);
    expect(at(100)).toBeGreaterThanOrEqual(0);
    expect(at(100)).toBeLessThan(360);
    expect(positionOf({ ...car, north: 0, east: 0 })).toEqual({
      latitude: ORIGIN.latitude,
      longitude: ORIGIN.longitude,
    });
  });

  it('let the outer wheels go faster than the inner ones, and the rear ones as fast as the car on average', () => {
    const left = { ...new Car(1).state, speed: 10, yawRate: 0.5 };
    const [frontLeft, frontRight, rearLeft, rearRight] = wheelSpeeds(left) as [number, number, number, number];
    expect(frontRight).toBeGreaterThan(frontLeft);
    expect(rearRight).toBeGreaterThan(rearLeft);
    expect((rearLeft + rearRight) / 2).toBeCloseTo(10, 9);
    expect(frontLeft).toBeGreaterThan(rearLeft);
  });
});

// VSS 6.0 lies beside the checkout where it is developed.
const spec = join(import.meta.dirname, '../../../shared/data/vss-6.0/spec');
const present = existsSync(spec);

describeWhere(present ? undefined : `${spec} is not there`, 'car.vss.yaml', () => {
  it('has paths of VSS 6.0 only, with their types', () => {
    const tree = readVspec();
    expect(tree.size).toBeGreaterThan(1000);
    const source: Record<string, { type: string; datatype: string }> = parse(readFileSync(CAR_MAPPING, 'utf8'));
    expect(Object.keys(source).length).toBe(mapping.length);
    for (const [path, { type, datatype }] of Object.entries(source)) {
      expect(tree.get(path), path).toEqual({ type, datatype });
    }
  });
});

interface VspecNode {
  readonly type: string;
  readonly datatype?: string;
  readonly instances?: string | readonly (string | readonly string[])[];
}

/** The leaves of the specification with branches multiplied by their instances, as its rule set says. */
function readVspec(): Map<string, { type: string; datatype: string }> {
  const nodes = new Map<string, VspecNode>();
  const read = (file: string, prefix: string) => {
    const text = readFileSync(file, 'utf8');
    const content: Record<string, VspecNode> | null = parse(text);
    for (const [name, node] of Object.entries(content ?? {}))
      nodes.set(prefix === '' ? name : `${prefix}.${name}`, node);
    for (const [, name, below] of text.matchAll(/^#include (\S+)(?: +(\S+))?/gm)) {
      const near = join(dirname(file), name!);
      const path = existsSync(near) ? near : join(spec, name!);
      read(path, [prefix, below].filter((part) => part !== undefined && part !== '').join('.'));
    }
  };
  read(join(spec, 'VehicleSignalSpecification.vspec'), '');
  const leaves = new Map<string, { type: string; datatype: string }>();
  for (const [path, node] of nodes) {
    if (node.type === 'branch' || node.datatype === undefined) continue;
    let expanded = [''];
    let plain = '';
    for (const part of path.split('.')) {
      plain = plain === '' ? part : `${plain}.${part}`;
      const suffixes = instancesOf(nodes.get(plain));
      expanded = expanded.flatMap((before) => {
        const here = before === '' ? part : `${before}.${part}`;
        return suffixes.map((suffix) => (suffix === '' ? here : `${here}.${suffix}`));
      });
    }
    for (const leaf of expanded) leaves.set(leaf, { type: node.type, datatype: node.datatype });
  }
  return leaves;
}

/** `Row[1,2]` is Row1 and Row2; a list of lists has one level for each. */
function instancesOf(node: VspecNode | undefined): string[] {
  const { instances } = node ?? {};
  if (instances === undefined) return [''];
  const range = (text: string): string[] => {
    const match = /^(\w+)\[(\d+),\s*(\d+)\]$/.exec(text);
    if (match === null) return [text];
    const [first, last] = [Number(match[2]), Number(match[3])];
    return Array.from({ length: last - first + 1 }, (_, i) => `${match[1]}${first + i}`);
  };
  if (typeof instances === 'string') return range(instances);
  const levels = instances.map((level) => (typeof level === 'string' ? range(level) : [...level]));
  // A flat list of names is one level; ranges and lists in it are a level each.
  if (instances.every((level) => typeof level === 'string' && !level.includes('['))) return levels.flat();
  return levels.reduce(
    (before, level) => before.flatMap((path) => level.map((name) => (path === '' ? name : `${path}.${name}`))),
    [''],
  );
}
