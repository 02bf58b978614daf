import { closeSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../shared/base/errors.ts';

/** https://sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
const MAX_JOURNAL = 16 * 1024 * 1024;

/** It is not a database of ours, or not a whole one. */
export class DamagedError extends Error {}

/** Another process has it. */
export class InUseError extends Error {}

export interface DatabaseKind {
  /** Says in the file that it is ours (`PRAGMA application_id`). */
  readonly applicationId: number;
  /** Of the schema. */
  readonly version: number;
  readonly schema: string;
}

/**
 * Opens a database of this broker in WAL mode with `synchronous=FULL`, and makes it when it is missing. No other process can
 * open it until it is closed, or this process ends, however that is.
 * @throws DamagedError | InUseError | errors of the file system and of SQLite
 */
export function openDatabase(path: string, kind: DatabaseKind): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let database: DatabaseSync | undefined;
  try {
    // It holds what is the tenants' own. The journal beside it gets the mode of the file.
    closeSync(openSync(path, 'a', 0o600));
    database = new DatabaseSync(path, { timeout: 250 });
    // Kept for as long as this process lives; then no other broker can open it.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    checkOwner(database, kind);
    // Deleted rows are a tenant's, and may have to be gone: see tryScrub.
    database.exec('PRAGMA secure_delete = ON');
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${MAX_JOURNAL}; BEGIN IMMEDIATE; COMMIT`,
    );
    const check = database.prepare('PRAGMA quick_check(1)').get()!.quick_check;
    if (check !== 'ok') throw new DamagedError(String(check));
    return database;
  } catch (error) {
    if (database !== undefined) closeDatabase(database);
    throw databaseFault(error);
  }
}

export function closeDatabase(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // Damaged: there is nothing that could be saved by failing here.
  }
}

/**
 * Leaves nothing of deleted rows in the journal; in the file they were written over when they were deleted. No VACUUM: it copies
 * what is still there to a temporary file elsewhere. @returns whether it could
 */
export function tryScrub(database: DatabaseSync): boolean {
  try {
    return database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()!.busy === 0;
  } catch {
    return false;
  }
}

/** Puts what is in the folder beside it, in place of what was put there before. @returns where it is */
export function moveFolderAside(folder: string): string {
  const aside = `${folder}.damaged`;
  rmSync(aside, { recursive: true, force: true });
  renameSync(folder, aside);
  return aside;
}

/** @throws DamagedError when it is another program's, or of another version; makes the tables in one that is new */
function checkOwner(database: DatabaseSync, { applicationId, version, schema }: DatabaseKind): void {
  const pragma = (name: string) => Number(database.prepare(`PRAGMA ${name}`).get()![name]);
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()!.n;
  const id = pragma('application_id');
  const found = pragma('user_version');
  if (tables === 0 && id === 0 && found === 0) {
    database.exec(
      `BEGIN IMMEDIATE; ${schema}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version}; COMMIT`,
    );
    return;
  }
  if (id !== applicationId) throw new DamagedError('it is a database of another program');
  if (found !== version) throw new DamagedError(`its version is ${found}, and this broker knows ${version}`);
}

/** The error as `DamagedError` or `InUseError` where SQLite says so, else as it is. */
export function databaseFault(error: unknown): unknown {
  // The lower byte of SQLite's extended code is the code.
  const code = Number((error as { errcode?: unknown } | null)?.errcode) & 0xff;
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return new DamagedError(messageOf(error), { cause: error });
  if (code === SQLITE_BUSY) return new InUseError(messageOf(error), { cause: error });
  return error;
}
