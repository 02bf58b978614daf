import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { rounds } from '../../test/support/rounds.ts';
import { workloadOf } from '../../test/support/workload.ts';
import { readGrants } from '../manifest/stored-grants.ts';
import type { WorkloadRecord } from '../planner/state.ts';
import { APPLICATION_ID, migrate, migrations } from './migrate.ts';
import { MAX_HISTORY, putAside, StateStore } from './state-store.ts';

let folder: string;
let file: string;
let stores: StateStore[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-state-'));
  file = join(folder, 'obu.db');
  stores = [];
});
afterEach(() => {
  for (const store of stores) store.stop();
  rmSync(folder, { recursive: true });
});

function open(): StateStore {
  const store = new StateStore(file);
  stores.push(store);
  store.start();
  return store;
}

const memory = (restarts: number) => ({ restarts, failures: 0 }) as WorkloadRecord;

describe('the state of an OBU', () => {
  it('is empty at first, and nobody else may read it', () => {
    const store = open();
    expect(readdirSync(folder).map((name) => statSync(join(folder, name)).mode & 0o077)).toEqual([0, 0, 0]);
    expect(store.current()).toBeUndefined();
    expect(store.history()).toEqual([]);
    expect(store.load()).toEqual(new Map());
  });

  it('is there again after a restart', () => {
    const first = open();
    expect(first.apply('a.yaml', 'text ä', 1000)).toEqual({
      generation: 1,
      file: 'a.yaml',
      text: 'text ä',
      appliedAtMs: 1000,
      good: false,
    });
    first.save(new Map([['b', memory(2)]]));
    first.markGood(1);
    first.stop();
    const second = open();
    expect(second.current()).toMatchObject({ generation: 1, text: 'text ä', good: true });
    expect(second.load()).toEqual(new Map([['b', memory(2)]]));
  });

  it('forgets what the planner forgets', () => {
    const store = open();
    store.save(new Map(['a', 'b', 'c'].map((name) => [name, memory(1)])));
    store.save(new Map([['b', memory(2)]]));
    expect(store.load()).toEqual(new Map([['b', memory(2)]]));
    store.stop();
    expect(open().load()).toEqual(new Map([['b', memory(2)]]));
  });

  it('keeps so many manifests, and the last good one however old', () => {
    const store = open();
    for (let i = 1; i <= 3; i++) store.apply('a.yaml', `${i}`, i);
    store.markGood(2);
    for (let i = 4; i <= 60; i++) store.apply('a.yaml', `${i}`, i);
    const kept = store.history().map(({ generation }) => generation);
    expect(kept).toEqual([...Array.from({ length: MAX_HISTORY + 1 }, (_, i) => 60 - i), 2]);
    expect(store.goodBefore(60)).toMatchObject({ generation: 2, text: '2' });
    expect(store.goodBefore(2)).toBeUndefined();
    expect(store.generation(2)).toMatchObject({ good: true });
    expect(store.generation(4)).toBeUndefined();
  });

  it('never gives a number twice', () => {
    const store = open();
    store.apply('a.yaml', 'x', 1);
    const raw = new DatabaseSync(file);
    raw.exec('DELETE FROM generation');
    raw.close();
    expect(store.apply('a.yaml', 'y', 2).generation).toBe(2);
  });

  it('gives back the grants of versions as values, and writes nothing of what has not changed', () => {
    const grants = {
      ...{ signals: ['read:Vehicle'], cameras: [] },
      can: [{ bus: 'can0', read: ['1:7ff'], write: [], as: 'socket', when: 'Vehicle.Speed == 0' }],
    } as const;
    const workload = workloadOf({ name: 'a', grants: readGrants(grants) });
    const version = { workload, configHash: 'hash', imageId: 'id' };
    const record = { ...memory(1), version, good: version };
    const first = open();
    first.save(new Map([['a', record]]));
    first.stop();
    const second = open();
    const back = second.load().get('a')!;
    expect(back).toEqual(record);
    expect(back.good!.workload.grants.can[0]!.when!.holds(() => 0)).toBe(true);
    const raw = new DatabaseSync(file);
    raw.exec("CREATE TRIGGER no_write BEFORE INSERT ON memory BEGIN SELECT RAISE(ABORT, 'written'); END");
    raw.close();
    second.save(new Map([['a', back]]));
    expect(() => second.save(new Map([['a', { ...back, restarts: 2 }]]))).toThrow(/written/);
  });

  it('whose grants nobody can read is damaged', () => {
    const store = open();
    const grants = { signals: ['write:Vehicle'], can: [], cameras: [] };
    store.save(new Map([['a', { ...memory(1), version: { workload: { grants } } } as unknown as WorkloadRecord]]));
    expect(() => store.load()).toThrow(
      expect.objectContaining({ code: ErrorCode.StateDamaged, message: expect.stringMatching(/"write:Vehicle"/) }),
    );
  });

  it('drops memory of another format', () => {
    open().save(new Map([['a', memory(1)]]));
    const raw = new DatabaseSync(file);
    raw.exec('UPDATE memory SET format = 99');
    raw.close();
    expect(open().load()).toEqual(new Map());
  });

  it('that is no database is left alone, and the error says what to do', () => {
    writeFileSync(file, 'this is a text\n'.repeat(1000));
    expect(open).toThrow(
      expect.objectContaining({
        code: ErrorCode.StateDamaged,
        message: expect.stringMatching(/obu\.db, is damaged .*--manifest FILE, which puts it aside/),
      }),
    );
    expect(readFileSync(file, 'utf8')).toMatch(/^this is a text/);
    expect(readdirSync(folder)).toEqual(['obu.db']);
  });

  it('that is cut off is damaged, and can be put aside', () => {
    const store = open();
    for (let i = 0; i < 50; i++) store.apply('a.yaml', 'x'.repeat(5000), i);
    store.stop();
    truncateSync(file, 20_000);
    expect(open).toThrow(expect.objectContaining({ code: ErrorCode.StateDamaged }));
    const aside = putAside(file, Date.UTC(2026, 0, 2, 3, 4, 5));
    expect(aside).toBe(`${file}.damaged-2026-01-02T030405.000Z`);
    expect(readdirSync(folder)).toContain('obu.db.damaged-2026-01-02T030405.000Z');
    expect(open().current()).toBeUndefined();
  });

  it('is no database of another program', () => {
    const raw = new DatabaseSync(file);
    raw.exec('CREATE TABLE theirs (x)');
    raw.close();
    expect(open).toThrow(/is a database of another program; move it away/);
    const again = new DatabaseSync(file);
    expect(again.prepare('SELECT name FROM sqlite_schema').all()).toMatchObject([{ name: 'theirs' }]);
    again.close();
  });

  it('of a newer version is left alone', () => {
    const raw = new DatabaseSync(file);
    raw.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${migrations.length + 1}`);
    raw.close();
    expect(open).toThrow(/was written by a newer Kerbside/);
  });

  it('says where it can not be opened', () => {
    file = join(folder, 'no', 'obu.db');
    expect(open).toThrow(expect.objectContaining({ code: ErrorCode.StateUnavailable }));
    expect(open).toThrow(file);
  });

  it('of an older version is brought up to date, and a step that fails changes nothing', () => {
    const database = new DatabaseSync(file);
    migrate(database, file, [migrations[0]!]);
    database.exec("INSERT INTO generation (file, text, applied_at_ms, good) VALUES ('a', 'b', 1, 1)");
    const bad = 'ALTER TABLE generation ADD COLUMN note TEXT; CREATE TABLE generation (x);';
    expect(() => migrate(database, file, [migrations[0]!, bad])).toThrow(/already exists/);
    if (database.isTransaction) database.exec('ROLLBACK');
    expect(database.prepare('SELECT * FROM generation').get()).not.toHaveProperty('note');
    migrate(database, file, [migrations[0]!, 'ALTER TABLE generation ADD COLUMN note TEXT;']);
    expect(database.prepare('SELECT * FROM generation').get()).toMatchObject({ text: 'b', note: null });
    expect(database.prepare('PRAGMA user_version').get()).toEqual({ user_version: 2 });
    database.close();
  });

  it('survives SIGKILL at any moment', async () => {
    const kills = rounds(4, 8);
    let least = 0;
    for (let round = 0; round < kills; round++) {
      const writer = spawn(process.execPath, [join(import.meta.dirname, '../../test/support/state-writer.ts'), file], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const said = linesOf(writer);
      await said.first;
      await sleep(Math.random() * 60);
      writer.kill('SIGKILL');
      await said.end;
      least = Math.max(least, said.last());
      const store = open();
      const { generation, text } = store.current()!;
      // What was said to be written is there, whole; what came after it may be.
      expect([least, least + 1]).toContain(generation);
      expect(text).toBe(`# ${generation}\n`.repeat(2000));
      expect([generation, generation - 1]).toContain(store.load().get('app')!.restarts);
      store.stop();
      least = generation;
    }
    expect(least).toBeGreaterThan(kills);
  });
});

function linesOf(child: ChildProcess) {
  let text = '';
  child.stdout!.setEncoding('utf8');
  const first = new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
  child.stdout!.on('data', (chunk: string) => (text += chunk));
  const end = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return { first, end, last: () => Number(text.trimEnd().split('\n').at(-1)) };
}
