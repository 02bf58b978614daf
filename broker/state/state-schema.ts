import type { DatabaseSync, StatementSync } from 'node:sqlite';

const SCHEMA = `
CREATE TABLE value (
  tenant TEXT NOT NULL,
  task TEXT NOT NULL,
  -- Empty: of all vehicles of the tenant.
  vehicle TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  value BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  keep_ms INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  UNIQUE (tenant, task, vehicle, key)
) STRICT;
CREATE INDEX value_expiry ON value (expires_at);
-- The offloads that were applied lately, so that a retry gets the same output and changes nothing.
CREATE TABLE applied (
  tenant TEXT NOT NULL,
  vehicle TEXT NOT NULL,
  id TEXT NOT NULL,
  owner TEXT NOT NULL,
  state_key TEXT NOT NULL,
  request BLOB NOT NULL,
  version INTEGER NOT NULL,
  output BLOB NOT NULL,
  -- Of the output as it is, so that no damaged one is ever given out.
  output_sha256 BLOB NOT NULL,
  facts BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  keep_ms INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  UNIQUE (tenant, vehicle, id)
) STRICT;
CREATE INDEX applied_expiry ON applied (expires_at);
CREATE TABLE sequence (last INTEGER NOT NULL) STRICT;
INSERT INTO sequence VALUES (0)`;

/** "KerS" */
export const KIND = { applicationId: 0x4b657253, version: 1, schema: SCHEMA };

const ONE = 'tenant = ? AND task = ? AND vehicle = ? AND key = ?';
const expired = (table: string) =>
  `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expires_at <= ? LIMIT ?) RETURNING tenant, bytes`;

const SQL = {
  read: `SELECT version, value, expires_at FROM value WHERE ${ONE} AND expires_at > ?`,
  head: `SELECT version, bytes, expires_at FROM value WHERE ${ONE}`,
  remove: `DELETE FROM value WHERE ${ONE}`,
  put: `INSERT INTO value VALUES (${Array(9).fill('?').join(', ')})`,
  probe: 'UPDATE sequence SET last = last',
  nextVersion: 'UPDATE sequence SET last = last + 1 RETURNING last',
  applied: `SELECT state_key, request, version, output, output_sha256, facts FROM applied
    WHERE tenant = ? AND vehicle = ? AND id = ? AND expires_at > ?`,
  keepOutput: `INSERT INTO applied VALUES (${Array(13).fill('?').join(', ')})`,
  removeOutput: 'DELETE FROM applied WHERE tenant = ? AND vehicle = ? AND id = ? RETURNING tenant, bytes',
  nextExpiry: `SELECT min(expires_at) AS at FROM (SELECT min(expires_at) AS expires_at FROM value WHERE tenant = ?1
    UNION ALL SELECT min(expires_at) FROM applied WHERE tenant = ?1)`,
  forgetValues: 'DELETE FROM value WHERE tenant = ? RETURNING tenant, bytes',
  forgetOutputs: 'DELETE FROM applied WHERE tenant = ?1 OR owner = ?1 RETURNING tenant, bytes',
  list: `SELECT tenant, task, vehicle, key, version, bytes, expires_at FROM value WHERE (? IS NULL OR tenant = ?)
    ORDER BY tenant, task, vehicle, key LIMIT ?`,
  total: 'SELECT count(*) AS n FROM value WHERE (? IS NULL OR tenant = ?)',
  expiredValues: expired('value'),
  expiredOutputs: expired('applied'),
} as const;

export type Statements = Readonly<Record<keyof typeof SQL, StatementSync>>;

export function statementsOf(database: DatabaseSync): Statements {
  const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
  return Object.fromEntries(prepared) as Statements;
}
