import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../shared/base/errors.ts';
import { closeDatabase, databaseFault, moveFolderAside, openDatabase, tryScrub } from '../storage/database-file.ts';
import { resealTable } from '../storage/reseal.ts';
import { PLAIN, type Seal } from '../storage/seal.ts';
import { KIND, type Statements, statementsOf } from './state-schema.ts';
import { askerText, bytesOf, bytesOfValue, growth, partsOf, sha256, steadyNow } from './state-sizes.ts';
import {
  type Asker,
  type OutputToKeep,
  type StateChange,
  type StateKey,
  type StateLimits,
  type StateReply,
  type StateRequest,
  type StateRow,
  type StateUse,
  textOfKey,
} from './state-types.ts';
import { StateUsage } from './state-usage.ts';

/** Entries that are looked at in one turn of taking out what has expired. */
const PURGE = 1000;

type Commit = Extract<StateRequest, { kind: 'commit' }>;

/** One entry is not as it was written. */
class UnreadableError extends Error {}

/**
 * The values of sessions on the disk, with the outputs of the offloads that were applied to them. Only for the thread that
 * keeps them: everything here blocks. What `apply` has answered with anything but `failed` is on the disk when it returns.
 *
 * Times run with the monotonic clock from the wall clock at the start: setting the clock while it runs ends nothing early.
 */
export class StateDatabase {
  readonly #folder: string;
  readonly #maxBytes: number;
  readonly #seal: Seal;
  readonly #now: () => number;
  #database: DatabaseSync | undefined;
  #statements: Statements | undefined;
  readonly #usage = new StateUsage();

  /**
   * @param maxBytes of all tenants together
   * @param now milliseconds since 1970
   */
  constructor(folder: string, maxBytes: number, seal: Seal = PLAIN, now: () => number = steadyNow()) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
    this.#seal = seal;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#database !== undefined;
  }

  /**
   * Holds the folder until `close`, or until the process ends, however that is.
   * @throws DamagedError | InUseError | errors of the file system and of SQLite
   */
  open(): void {
    try {
      const database = openDatabase(join(this.#folder, 'state.db'), KIND);
      this.#database = database;
      resealTable(database, this.#seal, {
        table: 'value',
        columns: { value: ({ tenant, task, vehicle, key }) => `value ${tenant}\n${task}\n${vehicle}\n${key}` },
      });
      resealTable(database, this.#seal, {
        table: 'applied',
        columns: { output: (row) => `output ${askerText(row)}`, facts: (row) => `facts ${askerText(row)}` },
      });
      const statements = statementsOf(database);
      this.#statements = statements;
      // A clock that was set back must not make anything stay for longer than it was to be kept.
      const now = this.#now();
      for (const table of ['value', 'applied'] as const) {
        database.prepare(`UPDATE ${table} SET expires_at = ?1 + keep_ms WHERE expires_at > ?1 + keep_ms`).run(now);
      }
      this.#count(database);
    } catch (error) {
      this.close();
      throw databaseFault(error);
    }
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

  /** The use of each tenant; of all of them, or of those that the last batch has changed. */
  use(all: boolean): Map<string, StateUse> {
    return this.#usage.list(all);
  }

  /**
   * Does these in their order, in one transaction: each is answered for itself, and is on the disk with the others.
   * @throws DamagedError | errors of the file system and of SQLite. Then nothing has changed.
   */
  apply(requests: readonly StateRequest[]): StateReply[] {
    const database = this.#database!;
    this.#usage.changed.clear();
    let replies: StateReply[];
    try {
      database.exec('BEGIN IMMEDIATE');
      this.#purge();
      // Nothing to be done: whoever asks wants to know whether the disk can be written.
      if (requests.length === 0) this.#statements!.probe.run();
      replies = requests.map((request) => this.#one(request));
      database.exec('COMMIT');
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK');
      this.#count(database);
      throw databaseFault(error);
    }
    return replies.some(({ kind }) => kind === 'forgotten') ? this.#scrubbed(database, replies) : replies;
  }

  /** Leaves nothing of the deleted rows in free pages. */
  #scrubbed(database: DatabaseSync, replies: StateReply[]): StateReply[] {
    if (tryScrub(database)) return replies;
    return replies.map((reply) => (reply.kind === 'forgotten' ? { ...reply, isScrubbed: false } : reply));
  }

  /** One that cannot be read is nothing to the others. */
  #one(request: StateRequest): StateReply {
    try {
      return this.#answer(request);
    } catch (error) {
      if (error instanceof UnreadableError) return { kind: 'failed', reason: error.message };
      throw error;
    }
  }

  #answer(request: StateRequest): StateReply {
    switch (request.kind) {
      case 'read':
        return (request.asker && this.#applied(request.asker, request.key)) ?? this.#read(request.key);
      case 'commit':
        return this.#commit(request);
      case 'forget':
        return this.#forget(request.tenant);
      case 'list':
        return this.#list(request.tenant, request.limit);
    }
  }

  #read(key: StateKey, now = this.#now()): Extract<StateReply, { kind: 'value' }> {
    const row = this.#statements!.read.get(...partsOf(key), now);
    if (row === undefined) return { kind: 'value', version: 0, value: undefined, expiresInMs: 0 };
    const head = { version: Number(row.version), expiresInMs: Number(row.expires_at) - now };
    return { kind: 'value', ...head, value: this.#open(row.value as Uint8Array, `value ${textOfKey(key)}`) };
  }

  /** The output of this very offload, when it was applied before. */
  #applied(asker: Asker, key: StateKey): StateReply | undefined {
    const row = this.#statements!.applied.get(asker.tenant, asker.vehicle, asker.id, this.#now());
    if (row === undefined) return undefined;
    const isSame = Buffer.compare(row.request as Uint8Array, asker.request) === 0;
    if (!isSame || row.state_key !== textOfKey(key)) return { kind: 'other-offload' };
    const text = askerText(asker);
    const output = this.#open(row.output as Uint8Array, `output ${text}`);
    if (!sha256(output).equals(row.output_sha256 as Uint8Array)) {
      throw new UnreadableError('an output on the disk is not what was written');
    }
    const facts = Buffer.from(this.#open(row.facts as Uint8Array, `facts ${text}`)).toString();
    return { kind: 'applied', output, facts, version: Number(row.version) };
  }

  #commit({ key, expected, change, applied, limits, askerLimits }: Commit): StateReply {
    const before = applied && this.#applied(applied.asker, key);
    if (before !== undefined) return before;
    const now = this.#now();
    const row = this.#statements!.head.get(...partsOf(key));
    const version = Number(row?.expires_at ?? 0) > now ? Number(row!.version) : 0;
    if (expected !== undefined && expected !== version) return { ...this.#read(key), kind: 'conflict' };
    // One that has expired counts until it is taken out.
    const had = row === undefined ? 0 : Number(row.bytes);
    const quota =
      this.#quota(key.tenant, limits, ...growth(change, key, had)) ??
      (applied && this.#quota(applied.asker.tenant, askerLimits, 0, bytesOf(applied)));
    if (quota !== undefined) return quota;
    const written = this.#change(key, change, version, had, limits, now);
    if (applied !== undefined) this.#keepOutput(applied, key, written, now);
    return { kind: 'written', version: written };
  }

  #change(key: StateKey, change: StateChange, version: number, had: number, limits: StateLimits, now: number): number {
    if (change.action === 'keep') return version;
    const { remove, put, nextVersion } = this.#statements!;
    if (had > 0) {
      remove.run(...partsOf(key));
      this.#usage.add(key.tenant, { keys: -1, bytes: -had });
    }
    if (change.action === 'delete') return 0;
    const next = Number(nextVersion.get()!.last);
    const bytes = bytesOfValue(key, change.value);
    const keepMs = Math.min(change.ttlMs, limits.ttlMs);
    const sealed = this.#seal.seal(change.value, `value ${textOfKey(key)}`);
    put.run(...partsOf(key), next, sealed, bytes, keepMs, now + keepMs);
    this.#usage.add(key.tenant, { keys: 1, bytes });
    return next;
  }

  #keepOutput(kept: OutputToKeep, key: StateKey, version: number, now: number): void {
    const { asker, output, facts, keepMs } = kept;
    const text = askerText(asker);
    const bytes = bytesOf(kept);
    for (const row of this.#statements!.removeOutput.all(asker.tenant, asker.vehicle, asker.id))
      this.#drop(row, 'outputs');
    this.#statements!.keepOutput.run(
      ...[asker.tenant, asker.vehicle, asker.id, key.tenant, textOfKey(key)],
      ...[asker.request, version, this.#seal.seal(output, `output ${text}`), sha256(output)],
      ...[this.#seal.seal(Buffer.from(facts), `facts ${text}`), bytes, keepMs, now + keepMs],
    );
    this.#usage.add(asker.tenant, { outputs: 1, bytes });
  }

  #quota(tenant: string, limits: StateLimits, keys: number, bytes: number): StateReply | undefined {
    const use = this.#usage.of(tenant);
    const over = (quota: 'state.keys' | 'state.bytes' | 'all', used: number, limit: number): StateReply => {
      const at = this.#statements!.nextExpiry.get(tenant)?.at;
      const retryAfterMs = typeof at === 'number' ? Math.max(1, at - this.#now()) : 0;
      return { kind: 'quota', tenant, quota, used, limit, retryAfterMs };
    };
    if (keys > 0 && use.keys + keys > limits.keys) return over('state.keys', use.keys, limits.keys);
    if (bytes > 0 && use.bytes + bytes > limits.bytes) return over('state.bytes', use.bytes, limits.bytes);
    if (bytes > 0 && this.#usage.bytes + bytes > this.#maxBytes) return over('all', this.#usage.bytes, this.#maxBytes);
    return undefined;
  }

  #forget(tenant: string): StateReply {
    const { keys, outputs, bytes } = this.#usage.of(tenant);
    const { forgetValues, forgetOutputs } = this.#statements!;
    for (const row of forgetValues.all(tenant)) this.#drop(row, 'keys');
    for (const row of forgetOutputs.all(tenant)) this.#drop(row, 'outputs');
    return { kind: 'forgotten', keys, outputs, bytes, isScrubbed: true };
  }

  #list(tenant: string | undefined, limit: number): StateReply {
    const now = this.#now();
    const { list, total } = this.#statements!;
    const only = tenant ?? null;
    const rows = list.all(only, only, limit).map((row) => ({
      ...{ tenant: String(row.tenant), task: String(row.task), vehicle: String(row.vehicle), key: String(row.key) },
      ...{ version: Number(row.version), bytes: Number(row.bytes), expiresInMs: Number(row.expires_at) - now },
    })) satisfies StateRow[];
    return { kind: 'listed', total: Number(total.get(only, only)!.n), rows };
  }

  /** Takes out some of what has expired. */
  #purge(): void {
    const now = this.#now();
    const { expiredValues, expiredOutputs } = this.#statements!;
    for (const row of expiredValues.all(now, PURGE)) this.#drop(row, 'keys');
    for (const row of expiredOutputs.all(now, PURGE)) this.#drop(row, 'outputs');
  }

  #drop({ tenant, bytes }: Record<string, unknown>, what: 'keys' | 'outputs'): void {
    this.#usage.add(String(tenant), { [what]: -1, bytes: -Number(bytes) });
  }

  #count(database: DatabaseSync): void {
    this.#usage.clear();
    const sums = (table: string) =>
      database.prepare(`SELECT tenant, count(*) AS n, sum(bytes) AS bytes FROM ${table} GROUP BY tenant`).all();
    for (const { tenant, n, bytes } of sums('value')) {
      this.#usage.add(String(tenant), { keys: Number(n), bytes: Number(bytes) });
    }
    for (const { tenant, n, bytes } of sums('applied')) {
      this.#usage.add(String(tenant), { outputs: Number(n), bytes: Number(bytes) });
    }
  }

  /** @throws UnreadableError */
  #open(sealed: Uint8Array, context: string): Uint8Array {
    try {
      return this.#seal.open(sealed, context);
    } catch (error) {
      throw new UnreadableError(`what is on the disk cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }
}
