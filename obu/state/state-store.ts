import { closeSync, existsSync, openSync, renameSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { WorkloadRecord } from '../planner/state.ts';
import { migrate, readVersion } from './migrate.ts';
import { readRecord, type StoredRecord } from './stored-record.ts';

/** Manifests that are kept besides the one that is wanted now and the last one that was good. */
export const MAX_HISTORY = 20;

/**
 * Raised when what the planner remembers changes its shape, or a Workload does, which is part of it: memory of another
 * format is dropped, and the planner finds out anew what runs.
 */
export const MEMORY_FORMAT = 1;

/** One manifest that was applied. */
export interface Generation {
  /** Counts from 1; the newest is what is wanted. */
  readonly generation: number;
  /** Name of its file, for messages. */
  readonly file: string;
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly appliedAtMs: number;
  /** Every workload of it was well, all at the same time and for a while. */
  readonly good: boolean;
}

/**
 * State that survives a power cut: the desired manifest, the ones before it, and what the planner remembers. SQLite in
 * WAL mode with `synchronous=FULL`: what a method has written is on the disk when it returns, and a process that is
 * killed at any moment leaves either all of a write or nothing of it.
 */
export class StateStore {
  readonly #file: string;
  #database: DatabaseSync | undefined;
  /** Memory as it was last read or written, so that only what has changed is written. */
  #saved = new Map<string, string>();

  /** @param file Database file; it is made when missing. Its folder has to exist. */
  constructor(file: string) {
    this.#file = file;
  }

  /**
   * @throws KerbError StateDamaged when the file is no database of ours or its contents are damaged; it is left as it
   * is. StateUnavailable when it can't be opened or was written by a newer version.
   */
  start(): void {
    try {
      // Manifests may hold secrets. The journal beside it gets the mode of the file.
      closeSync(openSync(this.#file, 'a', 0o600));
      const database = new DatabaseSync(this.#file, { timeout: 5000 });
      this.#database = database;
      readVersion(database, this.#file); // before anything is written to a file that may not be ours
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
      const check = database.prepare('PRAGMA quick_check(1)').get() as { readonly quick_check: string };
      if (check.quick_check !== 'ok') throw damaged(this.#file, check.quick_check);
      migrate(database, this.#file);
    } catch (error) {
      this.stop();
      throw toKerbError(this.#file, error);
    }
  }

  stop(): void {
    this.#database?.close();
    this.#database = undefined;
  }

  /** The current generation; undefined before the first manifest. */
  current(): Generation | undefined {
    return this.#generations('ORDER BY generation DESC LIMIT 1')[0];
  }

  /** Newest first. */
  history(): Generation[] {
    return this.#generations('ORDER BY generation DESC');
  }

  generation(generation: number): Generation | undefined {
    return this.#generations('WHERE generation = ?', generation)[0];
  }

  /** The newest good one before this one. */
  goodBefore(generation: number): Generation | undefined {
    return this.#generations('WHERE good = 1 AND generation < ? ORDER BY generation DESC LIMIT 1', generation)[0];
  }

  /** From now on this manifest is wanted. @throws KerbError StateUnavailable; then nothing has changed */
  apply(file: string, text: string, appliedAtMs: number): Generation {
    this.#write((database) => {
      database
        .prepare('INSERT INTO generation (file, text, applied_at_ms, good) VALUES (?, ?, ?, 0)')
        .run(file, text, appliedAtMs);
      database
        .prepare(
          `DELETE FROM generation WHERE generation < (SELECT max(generation) FROM generation) - ?
           AND generation <> (SELECT coalesce(max(generation), 0) FROM generation WHERE good = 1)`,
        )
        .run(MAX_HISTORY);
    });
    return this.current()!;
  }

  markGood(generation: number): void {
    this.#write((database) => {
      database.prepare('UPDATE generation SET good = 1 WHERE generation = ?').run(generation);
    });
  }

  /** The records of the planner, by workload. */
  load(): ReadonlyMap<string, WorkloadRecord> {
    const rows = this.#read((database) =>
      database.prepare('SELECT workload, json FROM memory WHERE format = ?').all(MEMORY_FORMAT),
    ) as unknown as readonly { readonly workload: string; readonly json: string }[];
    try {
      const memory = new Map(
        rows.map(({ workload, json }) => [workload, readRecord(JSON.parse(json) as StoredRecord)]),
      );
      this.#saved = new Map(rows.map(({ workload, json }) => [workload, json]));
      return memory;
    } catch (error) {
      throw damaged(this.#file, messageOf(error));
    }
  }

  /** Returns when it is safe from a power cut. @throws KerbError StateUnavailable; then nothing has changed */
  save(memory: ReadonlyMap<string, WorkloadRecord>): void {
    const next = new Map([...memory].map(([workload, value]) => [workload, JSON.stringify(value)]));
    const changed = [...next].filter(([workload, json]) => this.#saved.get(workload) !== json);
    const gone = [...this.#saved.keys()].filter((workload) => !next.has(workload));
    if (changed.length === 0 && gone.length === 0) return;
    this.#write((database) => {
      const put = database.prepare('INSERT OR REPLACE INTO memory (workload, format, json) VALUES (?, ?, ?)');
      for (const [workload, json] of changed) put.run(workload, MEMORY_FORMAT, json);
      const forget = database.prepare('DELETE FROM memory WHERE workload = ?');
      for (const workload of gone) forget.run(workload);
    });
    this.#saved = next;
  }

  #generations(rest: string, ...values: number[]): Generation[] {
    const rows = this.#read((database) =>
      database.prepare(`SELECT generation, file, text, applied_at_ms, good FROM generation ${rest}`).all(...values),
    );
    return rows.map((row) => ({
      generation: Number(row.generation),
      file: String(row.file),
      text: String(row.text),
      appliedAtMs: Number(row.applied_at_ms),
      good: row.good === 1,
    }));
  }

  #read<T>(read: (database: DatabaseSync) => T): T {
    try {
      return read(this.#opened());
    } catch (error) {
      throw toKerbError(this.#file, error);
    }
  }

  #write(write: (database: DatabaseSync) => void): void {
    const database = this.#opened();
    try {
      database.exec('BEGIN IMMEDIATE');
      write(database);
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw toKerbError(this.#file, error);
    }
  }

  #opened(): DatabaseSync {
    if (this.#database === undefined) throw new KerbError(ErrorCode.StateUnavailable, `${this.#file} is not open`);
    return this.#database;
  }
}

/**
 * Puts a damaged database aside, with its journal: a person may still get something out of it.
 * @returns where it is now
 */
export function putAside(file: string, nowMs: number): string {
  const aside = `${file}.damaged-${new Date(nowMs).toISOString().replaceAll(':', '')}`;
  for (const end of ['', '-wal', '-shm']) if (existsSync(file + end)) renameSync(file + end, aside + end);
  return aside;
}

// https://www.sqlite.org/rescode.html, primary result codes
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function toKerbError(file: string, error: unknown): KerbError {
  if (isKerbError(error)) return error;
  const code = Number((error as { errcode?: unknown } | null)?.errcode) & 0xff;
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return damaged(file, messageOf(error));
  const message = `the state of this OBU, ${file}, cannot be read or written: ${messageOf(error)}; see that its folder is there, writable and not full`;
  return new KerbError(ErrorCode.StateUnavailable, message, { file }, { cause: error });
}

function damaged(file: string, why: string): KerbError {
  const message =
    `the state of this OBU, ${file}, is damaged (${why}); start with --manifest FILE, which puts it aside and begins ` +
    'anew, or bring back a copy of it';
  return new KerbError(ErrorCode.StateDamaged, message, { file });
}
