import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { messageOf } from '../../shared/base/errors.ts';
import { BodyFiles } from './body-files.ts';
import { PLAIN, type Seal } from './seal.ts';
import type { PackedResult, StoreChange, StoredResult, StoredRow } from './stored-result.ts';

/** Larger outputs are in files of their own. */
const MAX_INLINE = 64 * 1024;
/** Says in the file that it is ours (`PRAGMA application_id`): "KerR". */
const APPLICATION_ID = 0x4b657252;
const VERSION = 1;
const MAX_JOURNAL = 16 * 1024 * 1024;
/** https://sqlite.org/rescode.html */
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const SCHEMA = `CREATE TABLE result (
  key TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  task TEXT NOT NULL,
  isolation TEXT NOT NULL,
  input_sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  keep_ms INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  facts BLOB NOT NULL,
  receipt BLOB,
  -- Of the output as it is, so that no damaged one is ever given out.
  output_sha256 BLOB NOT NULL,
  output BLOB,
  file TEXT,
  file_bytes INTEGER,
  CHECK ((output IS NULL) <> (file IS NULL))
) STRICT`;

/** It is not a database of ours, or not a whole one. */
export class DamagedError extends Error {}

/** Another process has it. */
export class InUseError extends Error {}

/**
 * Results on the disk: a database in WAL mode with `synchronous=FULL`, and large outputs in files beside it. Only for the
 * thread that writes results: everything here blocks. What `apply` has written is on the disk when it returns.
 */
export class ResultDatabase {
  readonly #folder: string;
  readonly #files: BodyFiles;
  readonly #seal: Seal;
  #database: DatabaseSync | undefined;
  #statements: Readonly<Record<'insert' | 'remove' | 'read', StatementSync>> | undefined;

  constructor(folder: string, seal: Seal = PLAIN) {
    this.#folder = folder;
    this.#files = new BodyFiles(join(folder, 'outputs'));
    this.#seal = seal;
  }

  /**
   * Holds the folder until `close`, or until the process ends, however that is.
   * @param now milliseconds since 1970
   * @returns what is there and not expired, the oldest first
   * @throws DamagedError | InUseError | errors of the file system and of SQLite
   */
  open(now: number = Date.now()): StoredRow[] {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#files.start();
    const path = join(this.#folder, 'results.db');
    try {
      // Results are the tenants' own. The journal beside it gets the mode of the file.
      closeSync(openSync(path, 'a', 0o600));
      const database = new DatabaseSync(path, { timeout: 250 });
      this.#database = database;
      // Kept for as long as this process lives; then no other broker can open it.
      database.exec('PRAGMA locking_mode = EXCLUSIVE');
      checkOwner(database);
      database.exec(
        `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${MAX_JOURNAL}; BEGIN IMMEDIATE; COMMIT`,
      );
      const check = database.prepare('PRAGMA quick_check(1)').get()!.quick_check;
      if (check !== 'ok') throw new DamagedError(String(check));
      this.#statements = {
        insert: database.prepare(`INSERT INTO result VALUES (${Array(14).fill('?').join(', ')})`),
        remove: database.prepare('DELETE FROM result WHERE key = ? RETURNING file'),
        read: database.prepare('SELECT facts, receipt, output_sha256, output, file FROM result WHERE key = ?'),
      };
      return this.#load(database, now);
    } catch (error) {
      this.close();
      throw describe(error);
    }
  }

  get isOpen(): boolean {
    return this.#database !== undefined;
  }

  close(): void {
    const database = this.#database;
    this.#database = undefined;
    this.#statements = undefined;
    try {
      database?.close();
    } catch {
      // Damaged: there is nothing that could be saved by failing here.
    }
  }

  /** Puts what is there beside itself, in place of what was put there before. @returns where it is */
  moveAside(): string {
    this.close();
    const aside = `${this.#folder}.damaged`;
    rmSync(aside, { recursive: true, force: true });
    renameSync(this.#folder, aside);
    return aside;
  }

  /**
   * All of it, or nothing.
   * @param bytes of the results that are put, in their order
   * @throws DamagedError | errors of the file system and of SQLite
   */
  apply(changes: readonly StoreChange[], bytes: Uint8Array): void {
    const database = this.#database!;
    const written: string[] = [];
    const gone: string[] = [];
    try {
      const values = this.#valuesOf(changes, bytes, written);
      if (written.length > 0) this.#files.sync();
      database.exec('BEGIN IMMEDIATE');
      for (const [i, change] of changes.entries()) {
        const row = this.#statements!.remove.get('put' in change ? change.put.key : change.remove);
        if (typeof row?.file === 'string') gone.push(row.file);
        if (values[i] !== undefined) this.#statements!.insert.run(...values[i]);
      }
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      this.#files.remove(written);
      throw describe(error);
    }
    this.#files.remove(gone);
  }

  /** Undefined: there is none with this key. @throws DamagedError | errors of the file system and of SQLite */
  read(key: string): StoredResult | undefined {
    try {
      const row = this.#statements!.read.get(key) as unknown as ReadRow | undefined;
      if (row === undefined) return undefined;
      const { facts, receipt, output_sha256: expected } = row;
      const output = this.#seal.open(row.output ?? this.#files.read(row.file!));
      if (!sha256(output).equals(expected)) throw new Error('what is on the disk is not what was written');
      return {
        facts: Buffer.from(this.#seal.open(facts)).toString(),
        receipt: receipt === null ? undefined : this.#seal.open(receipt),
        output,
      };
    } catch (error) {
      throw describe(error);
    }
  }

  /** The values of a row for each result that is put, with large outputs in files by now. */
  #valuesOf(changes: readonly StoreChange[], bytes: Uint8Array, written: string[]) {
    let at = 0;
    return changes.map((change) => {
      if (!('put' in change)) return undefined;
      const { put } = change;
      const receipt = put.receiptBytes === 0 ? null : this.#seal.seal(bytes.subarray(at, at + put.receiptBytes));
      at += put.receiptBytes;
      const output = bytes.subarray(at, at + put.size);
      at += put.size;
      const sealed = this.#seal.seal(output);
      const isLarge = sealed.length > MAX_INLINE;
      const file = isLarge ? this.#files.write(sealed) : null;
      if (file !== null) written.push(file);
      const inline = isLarge ? null : sealed;
      const fileBytes = isLarge ? sealed.length : null;
      return [...this.#headOf(put), receipt, sha256(output), inline, file, fileBytes];
    });
  }

  #headOf({ key, tenant, task, isolation, inputSha256, size, keepMs, expiresAt, facts }: PackedResult) {
    return [key, tenant, task, isolation, inputSha256, size, keepMs, expiresAt, this.#seal.seal(Buffer.from(facts))];
  }

  #load(database: DatabaseSync, now: number): StoredRow[] {
    // A clock that was set back must not make a result stay for longer than it was to be kept.
    database.prepare('UPDATE result SET expires_at = ?1 + keep_ms WHERE expires_at > ?1 + keep_ms').run(now);
    database.prepare('DELETE FROM result WHERE expires_at <= ?').run(now);
    const known = new Set<string>();
    const files = database.prepare('SELECT key, file, file_bytes FROM result WHERE file IS NOT NULL').all();
    for (const { key, file, file_bytes } of files) {
      if (this.#files.sizeOf(String(file)) === file_bytes) known.add(String(file));
      else this.#statements!.remove.get(String(key));
    }
    this.#files.removeOrphans(known);
    const rows = database
      .prepare(
        `SELECT key, tenant, task, isolation, input_sha256 AS inputSha256, size, keep_ms AS keepMs,
         expires_at AS expiresAt FROM result ORDER BY rowid`,
      )
      .all();
    return rows as unknown as StoredRow[];
  }
}

interface ReadRow {
  readonly facts: Uint8Array;
  readonly receipt: Uint8Array | null;
  readonly output_sha256: Uint8Array;
  readonly output: Uint8Array | null;
  readonly file: string | null;
}

/** @throws DamagedError when it is another program's, or of another version; makes the table in one that is new */
function checkOwner(database: DatabaseSync): void {
  const pragma = (name: string) => Number(database.prepare(`PRAGMA ${name}`).get()![name]);
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()!.n;
  const id = pragma('application_id');
  const version = pragma('user_version');
  if (tables === 0 && id === 0 && version === 0) {
    database.exec(
      `BEGIN IMMEDIATE; ${SCHEMA}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${VERSION}; COMMIT`,
    );
    return;
  }
  if (id !== APPLICATION_ID) throw new DamagedError('it is a database of another program');
  if (version !== VERSION) throw new DamagedError(`its version is ${version}, and this broker knows ${VERSION}`);
}

function describe(error: unknown): unknown {
  // The lower byte of SQLite's extended code is the code.
  const code = Number((error as { errcode?: unknown } | null)?.errcode) & 0xff;
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return new DamagedError(messageOf(error), { cause: error });
  if (code === SQLITE_BUSY) return new InUseError(messageOf(error), { cause: error });
  return error;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
