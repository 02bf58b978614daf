import type { DatabaseSync } from 'node:sqlite';
import { tryScrub } from './database-file.ts';
import type { Seal } from './seal.ts';

type Row = Readonly<Record<string, unknown>>;

export interface SealedTable {
  readonly table: string;
  /** The sealed columns, and the context of each in a row. */
  readonly columns: Readonly<Record<string, (row: Row) => string>>;
}

/**
 * Writes anew what is not as this seal would write it: with an older key, or with none. Nothing of what was there before is
 * left in the file. Reads each row once; costs no more where all is current.
 * @throws Error when something cannot be opened
 */
export function resealTable(database: DatabaseSync, seal: Seal, { table, columns }: SealedTable): void {
  const names = Object.keys(columns);
  const rows = database.prepare(`SELECT rowid AS number_of_row, * FROM ${table}`);
  const update = database.prepare(
    `UPDATE ${table} SET ${names.map((name) => `${name} = ?`).join(', ')} WHERE rowid = ?`,
  );
  const stale: Row[] = [];
  for (const row of rows.iterate()) {
    if (names.some((name) => isStale(seal, row[name]))) stale.push({ number: row.number_of_row });
  }
  if (stale.length === 0) return;
  const read = database.prepare(`SELECT * FROM ${table} WHERE rowid = ?`);
  database.exec('BEGIN IMMEDIATE');
  try {
    for (const { number } of stale) {
      const row = read.get(number as number) as Row;
      const values = names.map((name) => {
        const bytes = row[name];
        if (!(bytes instanceof Uint8Array)) return null;
        const context = columns[name]!(row);
        return seal.seal(seal.open(bytes, context), context);
      });
      update.run(...values, number as number);
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
  tryScrub(database);
}

function isStale(seal: Seal, bytes: unknown): boolean {
  return bytes instanceof Uint8Array && !seal.isCurrent(bytes);
}
