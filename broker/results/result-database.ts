import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { closeDatabase, databaseFault, moveFolderAside, openDatabase, tryScrub } from '../storage/database-file.ts';
import { PLAIN, type Seal } from '../storage/seal.ts';
import { BodyFiles } from './body-files.ts';
import { resealResults } from './reseal-results.ts';
import type { PackedResult, StoreChange, StoreDone, StoredResult, StoredRow } from './stored-result.ts';

/** Larger outputs are in files of their own. */
const MAX_INLINE = 64 * 1024;
/** Says in the file that it is ours (`PRAGMA application_id`): "KerR". */
const APPLICATION_ID = 0x4b657252;
const VERSION = 1;
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
const KIND = { applicationId: APPLICATION_ID, version: VERSION, schema: SCHEMA };

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
    try {
      const database = openDatabase(join(this.#folder, 'results.db'), KIND);
      this.#database = database;
      resealResults(database, this.#files, this.#seal);
      this.#statements = {
        insert: database.prepare(`INSERT INTO result VALUES (${Array(14).fill('?').join(', ')})`),
        remove: database.prepare('DELETE FROM result WHERE key = ? RETURNING file'),
        read: database.prepare('SELECT facts, receipt, output_sha256, output, file FROM result WHERE key = ?'),
      };
      return this.#load(database, now);
    } catch (error) {
      this.close();
      throw databaseFault(error);
    }
  }

  get isOpen(): boolean {
    return this.#database !== undefined;
  }

  close(): void {
    const database = this.#database;
    this.#database = undefined;
    this.#statements = undefined;
    if (database !== undefined) closeDatabase(database);
  }

  /** Puts what is there beside itself, in place of what was put there before. @returns where it is */
  moveAside(): string {
    this.close();
    return moveFolderAside(this.#folder);
  }

  /**
   * All of it, or nothing.
   * @param bytes of the results that are put, in their order
   * @throws DamagedError | errors of the file system and of SQLite
   */
  apply(changes: readonly StoreChange[], bytes: Uint8Array): StoreDone {
    const database = this.#database!;
    const written: string[] = [];
    const gone: string[] = [];
    try {
      const values = this.#valuesOf(changes, bytes, written);
      if (written.length > 0) this.#files.sync();
      database.exec('BEGIN IMMEDIATE');
      for (const [i, change] of changes.entries()) {
        if ('scrub' in change) continue;
        const row = this.#statements!.remove.get('put' in change ? change.put.key : change.remove);
        if (typeof row?.file === 'string') gone.push(row.file);
        if (values[i] !== undefined) this.#statements!.insert.run(...values[i]);
      }
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      this.#files.remove(written);
      throw databaseFault(error);
    }
    this.#files.remove(gone);
    if (!changes.some((change) => 'scrub' in change)) return { isScrubbed: false };
    const areFilesGone = this.#files.removeLeft();
    return { isScrubbed: tryScrub(database) && areFilesGone };
  }

  /** Undefined: there is none with this key. @throws DamagedError | errors of the file system and of SQLite */
  read(key: string): StoredResult | undefined {
    try {
      const row = this.#statements!.read.get(key) as unknown as ReadRow | undefined;
      if (row === undefined) return undefined;
      const { facts, receipt, output_sha256: expected } = row;
      const output = this.#seal.open(row.output ?? this.#files.read(row.file!), `output ${key}`);
      if (!sha256(output).equals(expected)) throw new Error('what is on the disk is not what was written');
      return {
        facts: Buffer.from(this.#seal.open(facts, `facts ${key}`)).toString(),
        receipt: receipt === null ? undefined : this.#seal.open(receipt, `receipt ${key}`),
        output,
      };
    } catch (error) {
      throw databaseFault(error);
    }
  }

  /** The values of a row for each result that is put, with large outputs in files by now. */
  #valuesOf(changes: readonly StoreChange[], bytes: Uint8Array, written: string[]) {
    let at = 0;
    return changes.map((change) => {
      if (!('put' in change)) return undefined;
      const { put } = change;
      const signed = bytes.subarray(at, at + put.receiptBytes);
      const receipt = signed.length === 0 ? null : this.#seal.seal(signed, `receipt ${put.key}`);
      at += put.receiptBytes;
      const output = bytes.subarray(at, at + put.size);
      at += put.size;
      const sealed = this.#seal.seal(output, `output ${put.key}`);
      const isLarge = sealed.length > MAX_INLINE;
      const file = isLarge ? this.#files.write(sealed) : null;
      if (file !== null) written.push(file);
      const inline = isLarge ? null : sealed;
      const fileBytes = isLarge ? sealed.length : null;
      return [...this.#headOf(put), receipt, sha256(output), inline, file, fileBytes];
    });
  }

  #headOf({ key, tenant, task, isolation, inputSha256, size, keepMs, expiresAt, facts }: PackedResult) {
    const sealed = this.#seal.seal(Buffer.from(facts), `facts ${key}`);
    return [key, tenant, task, isolation, inputSha256, size, keepMs, expiresAt, sealed];
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

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
