import type { DatabaseSync } from 'node:sqlite';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** Says in the file that it is ours (`PRAGMA application_id`): "Kerb". */
export const APPLICATION_ID = 0x4b657262;

/** Migrations from one version of the schema to the next; only ever added to. */
export const migrations: readonly string[] = [
  `CREATE TABLE generation (
     generation INTEGER PRIMARY KEY AUTOINCREMENT,
     file TEXT NOT NULL,
     text TEXT NOT NULL,
     applied_at_ms INTEGER NOT NULL,
     good INTEGER NOT NULL CHECK (good IN (0, 1))
   ) STRICT;
   CREATE TABLE memory (workload TEXT PRIMARY KEY, format INTEGER NOT NULL, json TEXT NOT NULL) STRICT;`,
];

/**
 * Version of the schema; 0 for a file that is new.
 * @throws KerbError StateDamaged when it is somebody else's database, StateUnavailable when a newer version wrote it
 */
export function readVersion(database: DatabaseSync, file: string, known: number = migrations.length): number {
  const pragma = (name: string) => Number(database.prepare(`PRAGMA ${name}`).get()![name]);
  const version = pragma('user_version');
  const id = pragma('application_id');
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get() as { readonly n: number };
  const isNew = version === 0 && id === 0 && tables.n === 0;
  if (!isNew && id !== APPLICATION_ID) {
    throw new KerbError(ErrorCode.StateDamaged, `${file} is a database of another program; move it away`, { file });
  }
  if (version > known) {
    const message = `${file} was written by a newer Kerbside (version ${version} of the schema, this one knows ${known}); run that one, or use another state folder`;
    throw new KerbError(ErrorCode.StateUnavailable, message, { file, version });
  }
  return version;
}

/** Brings the schema up to date, each step whole or not at all. */
export function migrate(database: DatabaseSync, file: string, steps: readonly string[] = migrations): void {
  for (let version = readVersion(database, file, steps.length); version < steps.length; version++) {
    database.exec(
      `BEGIN IMMEDIATE; ${steps[version]} PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${version + 1}; COMMIT`,
    );
  }
}
