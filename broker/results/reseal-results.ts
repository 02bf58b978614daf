import type { DatabaseSync } from 'node:sqlite';
import { tryScrub } from '../storage/database-file.ts';
import type { Seal } from '../storage/seal.ts';
import type { BodyFiles } from './body-files.ts';

interface Row {
  readonly number: number;
  readonly key: string;
  readonly facts: Uint8Array;
  readonly receipt: Uint8Array | null;
  readonly output: Uint8Array | null;
  readonly file: string | null;
}

/**
 * Writes anew what is not as this seal would write it: with an older key, or with none. What cannot be opened any more is
 * removed. Nothing of what was there before is left, but for files that the next start removes.
 * @throws errors of the file system and of SQLite
 */
export function resealResults(database: DatabaseSync, files: BodyFiles, seal: Seal): void {
  const stale: number[] = [];
  // The parts of a result are sealed together: the smallest one tells.
  for (const { number, facts } of database.prepare('SELECT rowid AS number, facts FROM result').iterate()) {
    if (!seal.isCurrent(facts as Uint8Array)) stale.push(Number(number));
  }
  if (stale.length === 0) return;
  const read = database.prepare(
    'SELECT rowid AS number, key, facts, receipt, output, file FROM result WHERE rowid = ?',
  );
  const update = database.prepare(
    'UPDATE result SET facts = ?, receipt = ?, output = ?, file = ?, file_bytes = ? WHERE rowid = ?',
  );
  const remove = database.prepare('DELETE FROM result WHERE rowid = ?');
  const gone: string[] = [];
  database.exec('BEGIN IMMEDIATE');
  try {
    for (const number of stale) {
      const row = read.get(number) as unknown as Row;
      const parts = resealed(row, files, seal);
      if (row.file !== null) gone.push(row.file);
      if (parts === undefined) {
        remove.run(number);
        continue;
      }
      const { facts, receipt, output } = parts;
      if (row.file === null) update.run(facts, receipt, output, null, null, number);
      else update.run(facts, receipt, null, files.write(output), output.length, number);
    }
    files.sync();
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
  files.remove(gone);
  tryScrub(database);
}

function resealed({ key, facts, receipt, output, file }: Row, files: BodyFiles, seal: Seal) {
  const again = (bytes: Uint8Array, context: string) => seal.seal(seal.open(bytes, context), context);
  try {
    return {
      facts: again(facts, `facts ${key}`),
      receipt: receipt === null ? null : again(receipt, `receipt ${key}`),
      output: again(output ?? files.read(file!), `output ${key}`),
    };
  } catch {
    return undefined;
  }
}
