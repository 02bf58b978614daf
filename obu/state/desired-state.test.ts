import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SeenState } from '../../shared/api/workload-state.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { ReportedEvent } from '../telemetry/report.ts';
import { DesiredState } from './desired-state.ts';

let folder: string;
let nowMs: number;
let reported: ReportedEvent[];
let changed: string[][];
let open: DesiredState[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-desired-'));
  nowMs = 1_000_000;
  reported = [];
  changed = [];
  open = [];
});
afterEach(() => {
  for (const one of open) one.stop();
  rmSync(folder, { recursive: true });
});

const manifest = (services: string, file = 'car.yaml') => ({ file, text: `services:\n${services}` });
const a = '  a: { image: "a:1" }\n';
const b = '  b: { image: "b:1" }\n';

function make(): DesiredState {
  const state = new DesiredState({
    database: join(folder, 'obu.db'),
    offers: { buses: ['can0'], cameras: [], tasks: [], signals: [] },
    report: (one) => reported.push(one),
    log: silentLog(),
    nowMs: () => nowMs,
    steadyMs: () => nowMs,
  });
  open.push(state);
  return state;
}

function started(given?: { file: string; text: string }): DesiredState {
  const state = make();
  state.start(given);
  let before = names(state).join();
  state.follow((wanted) => {
    expect(names(state)).toEqual(wanted.map(({ workload }) => workload.name));
    changed.push([before, names(state).join()]);
    before = names(state).join();
  });
  return state;
}

const workloadsOf = (state: DesiredState) => state.wanted.map(({ workload }) => workload);
const names = (state: DesiredState) => workloadsOf(state).map(({ name }) => name);
const running: SeenState = { state: 'Running', detail: 'Ok' };

/** Lets all of its workloads be well for as long as it takes. */
function prove(state: DesiredState): void {
  for (let i = 0; i < 12; i++, nowMs += 1000) state.watch(() => running);
}

describe('what is wanted', () => {
  it('is nothing before the first manifest', () => {
    const state = started();
    expect(names(state)).toEqual([]);
    expect(() => state.manifest()).toThrow(expect.objectContaining({ code: ErrorCode.UnknownManifest }));
    expect(() => state.rollback()).toThrow(/no manifest has been applied/);
  });

  it('is what was applied last, also after a restart', () => {
    started(manifest(a)).stop();
    const again = started();
    expect(names(again)).toEqual(['a']);
    again.apply(manifest(a + b));
    again.stop();
    const third = started();
    expect(names(third)).toEqual(['a', 'b']);
    expect(third.manifest()).toMatchObject({ generation: 2, file: 'car.yaml' });
    expect(changed).toEqual([['a', 'a,b']]);
    expect(reported).toEqual([{ event: 'manifest-applied', generation: 2, file: 'car.yaml' }]);
  });

  it('is the manifest that the start was given, which is a new generation only when it is another', () => {
    started(manifest(a)).stop();
    const same = started(manifest(a));
    expect(same.manifest().generation).toBe(1);
    same.stop();
    expect(started(manifest(b)).manifest().generation).toBe(2);
  });

  it('is not changed by a manifest with a problem', () => {
    const state = started(manifest(a));
    const foreign = '  a: { image: x, x-obu: { grants: { can: [{ bus: can7, read: ["1:7"] }] } } }\n';
    expect(() => state.apply(manifest(foreign))).toThrow(/this OBU has no bus "can7"/);
    expect(() => state.apply(manifest('  a: {}'))).toThrow(expect.objectContaining({ code: ErrorCode.BadManifest }));
    expect(state.history()).toHaveLength(1);
    expect(names(state)).toEqual(['a']);
    expect(changed).toEqual([]);
    // Nor does a bad one that the start is given.
    state.stop();
    expect(() => started(manifest(foreign))).toThrow(/can7/);
    expect(started().manifest().generation).toBe(1);
  });

  it('stays the generation that it is when the same is applied again', () => {
    const state = started(manifest(a));
    expect(state.apply(manifest(a))).toEqual({
      generation: 1,
      file: 'car.yaml',
      changes: [{ workload: 'a', change: 'unchanged' }],
    });
    expect(changed).toEqual([]);
  });

  it('is compared with what was, workload by workload', () => {
    const state = started(manifest(`${a}${b}  c: { image: c }\n  d: { image: d }\n`));
    const next =
      '  b: { image: "b:2" }\n  c: { image: c, x-obu: { priority: 3 } }\n  d: { image: "d:latest" }\n  e: { image: e }\n';
    expect(state.compare(manifest(next)).changes).toEqual([
      { workload: 'a', change: 'removed' },
      { workload: 'b', change: 'replaced' },
      { workload: 'c', change: 'adjusted' },
      { workload: 'd', change: 'unchanged' },
      { workload: 'e', change: 'added' },
    ]);
    expect(names(state)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('that an older version took goes on, though it could not be applied today', () => {
    const old = manifest('  a: { image: "a:1", command: [echo, $HOME], environment: { MASK: 0755 } }\n');
    const state = started(manifest(a));
    expect(() => state.apply(old)).toThrow(expect.objectContaining({ code: ErrorCode.BadManifest }));
    state.store.apply(old.file, old.text, nowMs);
    state.stop();
    const asItWas = { command: ['echo', '$HOME'], environment: { MASK: '755' } };
    const again = started();
    expect(workloadsOf(again)[0]).toMatchObject(asItWas);
    again.stop();
    // Nor is it an obstacle that the start is given the same file again, as a service of the machine does.
    const given = started(old);
    expect(given.manifest().generation).toBe(2);
    expect(workloadsOf(given)[0]).toMatchObject(asItWas);
    given.stop();
    expect(() => started(manifest('  b: { image: "b:1", environment: { MASK: 0755 } }\n'))).toThrow(/MASK/);
  });

  it('that an older version took can be gone back to, as a whole and for one workload', () => {
    const old = manifest('  a: { image: "a:1", environment: { MASK: 0755 } }\n  b: { image: "b:1" }\n', 'old.yaml');
    const state = started(manifest(a));
    const { generation } = state.store.apply(old.file, old.text, nowMs);
    state.store.markGood(generation);
    state.stop();
    const now = started(manifest('  a: { image: "a:2" }\n  b: { image: "b:2" }\n', 'new.yaml'));
    expect(now.rollback('a')).toMatchObject({ file: 'new.yaml' });
    expect(workloadsOf(now).map(({ image, environment }) => [image, environment])).toEqual([
      ['a:1', { MASK: '755' }],
      ['b:2', {}],
    ]);
    expect(now.rollback()).toMatchObject({ file: 'old.yaml' });
    expect(workloadsOf(now).map(({ image, environment }) => [image, environment])).toEqual([
      ['a:1', { MASK: '755' }],
      ['b:1', {}],
    ]);
  });

  it('that no longer fits the OBU is said at the start, with what to do', () => {
    started(manifest('  a: { image: x, x-obu: { grants: { can: [{ bus: can0, read: ["1:7"] }] } } }\n')).stop();
    const other = new DesiredState({
      database: join(folder, 'obu.db'),
      offers: { buses: [], cameras: [], tasks: [], signals: [] },
      report: () => {},
      log: silentLog(),
    });
    open.push(other);
    expect(() => other.start(undefined)).toThrow(/^generation 1 of the manifest does not fit .*can0.*--manifest FILE/);
  });
});

describe('a damaged state', () => {
  beforeEach(() => writeFileSync(join(folder, 'obu.db'), 'no database '.repeat(1000)));

  it('stops a start that has no manifest, and stays as it is', () => {
    expect(() => started()).toThrow(expect.objectContaining({ code: ErrorCode.StateDamaged }));
    expect(readdirSync(folder)).toEqual(['obu.db']);
  });

  it('is put aside by a start that has one, and reported', () => {
    const state = started(manifest(a));
    expect(names(state)).toEqual(['a']);
    expect(reported).toEqual([
      {
        event: 'state-damaged',
        code: ErrorCode.StateDamaged,
        reason: expect.stringMatching(/obu\.db, was damaged: it is kept as .*obu\.db\.damaged-1970/),
      },
    ]);
    expect(readdirSync(folder).some((name) => name.startsWith('obu.db.damaged-'))).toBe(true);
  });

  it('is left alone by a manifest that is bad itself', () => {
    expect(() => started(manifest('  a: {}'))).toThrow(expect.objectContaining({ code: ErrorCode.BadManifest }));
    expect(readdirSync(folder)).toEqual(['obu.db']);
  });
});

describe('a manifest', () => {
  it('is good when all of its workloads have been well for a while without a break', () => {
    const state = started(manifest(a + b));
    const isGood = () => state.manifest().good;
    for (let i = 0; i < 9; i++, nowMs += 1000) state.watch(() => running);
    state.watch((workload) => (workload === 'b' ? { state: 'Failed', detail: 'ExitCode' } : running));
    for (let i = 0; i < 9; i++, nowMs += 1000) state.watch(() => running);
    expect(isGood()).toBe(false);
    for (let i = 0; i < 3; i++, nowMs += 1000) {
      state.watch((workload) => (workload === 'b' ? { state: 'Succeeded', detail: '' } : running));
    }
    expect(isGood()).toBe(true);
  });

  it('is not good with a workload that is unhealthy or on its way', () => {
    const state = started(manifest(a));
    for (let i = 0; i < 20; i++, nowMs += 1000) state.watch(() => ({ ...running, detail: 'Unhealthy' }));
    for (let i = 0; i < 20; i++, nowMs += 1000) state.watch(() => ({ ...running, state: 'Pending' }));
    expect(state.manifest().good).toBe(false);
  });

  it('is not good because of states of before the engine stopped answering, which interrupt what has been proved', () => {
    const state = started(manifest(a + b));
    const old: SeenState = { ...running, isOld: true };
    const noRoom: SeenState = { state: 'Pending', detail: 'NoCapacity', isOld: true, displacedBy: ['a'] };
    const look = (seconds: number, stateOf: (workload: string) => SeenState) => {
      for (let i = 0; i < seconds; i++, nowMs += 1000) state.watch(stateOf);
      return state.manifest().good;
    };
    expect(look(9, () => running)).toBe(false);
    expect(look(20, () => old)).toBe(false);
    expect(look(20, (workload) => (workload === 'b' ? noRoom : running))).toBe(false);
    expect(look(20, () => ({ ...old, state: 'Succeeded', detail: '' }))).toBe(false);
    // The engine answers again: it counts anew.
    expect(look(9, () => running)).toBe(false);
    expect(look(3, () => running)).toBe(true);
  });

  it('is good when those that do not run make room for others as its priorities say', () => {
    const state = started(manifest(a + b));
    const noRoom: SeenState = { state: 'Pending', detail: 'NoCapacity', displacedBy: [] };
    for (let i = 0; i < 12; i++, nowMs += 1000) state.watch((workload) => (workload === 'b' ? noRoom : running));
    expect(state.manifest().good).toBe(false);
    const displaced: SeenState = { ...noRoom, displacedBy: ['a'] };
    for (let i = 0; i < 12; i++, nowMs += 1000) state.watch((workload) => (workload === 'b' ? displaced : running));
    expect(state.manifest().good).toBe(true);
    state.apply(manifest(a, 'two.yaml'));
    expect(state.rollback()).toMatchObject({ file: 'car.yaml' });
  });

  it.each(['handing-over', 'waiting', 'rolled-back'] as const)(
    'is not good because of a container of before: %s',
    (update) => {
      const state = started(manifest(a));
      for (let i = 0; i < 20; i++, nowMs += 1000) state.watch(() => ({ ...running, update }));
      expect(state.manifest().good).toBe(false);
    },
  );
});

it('a state that cannot be written stops nobody', () => {
  const state = started(manifest(a));
  state.stop();
  expect(() => prove(state)).not.toThrow();
  expect(state.manifest().good).toBe(false);
  expect(() => state.apply(manifest(b))).toThrow(expect.objectContaining({ code: ErrorCode.StateUnavailable }));
  expect(names(state)).toEqual(['a']);
});

describe('a rollback', () => {
  it('goes to the last other manifest that was good', () => {
    const state = started(manifest(a, 'one.yaml'));
    prove(state);
    state.apply(manifest(b, 'two.yaml'));
    expect(state.rollback()).toMatchObject({
      generation: 3,
      file: 'one.yaml',
      changes: [
        { workload: 'a', change: 'added' },
        { workload: 'b', change: 'removed' },
      ],
    });
    expect(names(state)).toEqual(['a']);
    expect(changed.at(-1)).toEqual(['b', 'a']);
  });

  it('does not go where it is already', () => {
    const state = started(manifest(a));
    expect(() => state.rollback()).toThrow(expect.objectContaining({ code: ErrorCode.NothingToRollBack }));
    prove(state);
    state.apply(manifest(b));
    state.rollback();
    expect(() => state.rollback()).toThrow(/nothing to go back to from generation 3/);
  });

  it('of one workload keeps every value of the others as it is written', () => {
    const values = '{ N: 8900000000000012345, T: "0755", U: "1_000", D: "2026-01-01", S: "$$x", F: 1.10 }';
    const state = started(manifest('  a: { image: "a:1" }\n'));
    prove(state);
    state.apply(manifest(`  a: { image: "a:2" }\n  b: { image: "b:1", environment: ${values} }\n`, 'two.yaml'));
    const before = workloadsOf(state).find(({ name }) => name === 'b');
    state.rollback('a');
    expect(workloadsOf(state).find(({ name }) => name === 'a')).toMatchObject({ image: 'a:1' });
    expect(workloadsOf(state).find(({ name }) => name === 'b')).toEqual(before);
    expect(before).toMatchObject({
      environment: { N: '8900000000000012345', T: '0755', U: '1_000', D: '2026-01-01', S: '$x' },
    });
  });

  it('of one workload leaves the others as they are', () => {
    const shared = '  a: &it { image: "a:1", mem_limit: 64m }\n  b: { <<: *it, image: "b:1" }\n';
    const state = started(manifest(shared));
    prove(state);
    state.apply(manifest('  a: { image: "a:2" }\n  b: { image: "b:2" }\n  c: { image: c }\n', 'two.yaml'));
    expect(state.rollback('b')).toMatchObject({
      file: 'two.yaml',
      changes: [
        { workload: 'a', change: 'unchanged' },
        { workload: 'b', change: 'replaced' },
        { workload: 'c', change: 'unchanged' },
      ],
    });
    expect(workloadsOf(state).map(({ image, memLimit }) => [image, memLimit])).toEqual([
      ['a:2', undefined],
      ['b:1', 67_108_864],
      ['c:latest', undefined],
    ]);
    expect(() => state.rollback('c')).toThrow(/no good manifest before it has another workload "c"/);
    expect(() => state.rollback('nobody')).toThrow(/no workload "nobody" in the manifest; there are a, b, c/);
  });
});
