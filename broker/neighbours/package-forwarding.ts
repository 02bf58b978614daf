import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NeighbourStatus } from '../../shared/api/broker.ts';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { readPackageFiles } from '../../shared/task-package/reader.ts';
import type { PackageStore } from '../packages/package-store.ts';
import type { NeighbourEvents } from './neighbour-events.ts';
import type { Neighbours } from './neighbours.ts';
import { forbidden, MAX_PIECE } from './pieces.ts';

const { NeighbourReply, PackageNotice, PackageQuery } = kerbside.v2e;

export interface PackageForwardingOptions {
  readonly neighbours: () => Neighbours;
  readonly store: Pick<PackageStore, 'get' | 'pushes'>;
  readonly events: NeighbourEvents;
  readonly log: Logger;
}

/** The neighbour fetches and verifies the whole package before it answers. */
const NOTICE_MS = 60_000;
const LOOK_MS = 1000;
/** A notice that was refused is given again after this time, in milliseconds: trust, quota and disk may be others by then. */
const AGAIN_MS = 60_000;
/** Packages of one neighbour whose state is remembered; those beyond wait for others to go. */
const MAX_PACKAGES = 4096;
const MAX_SHOWN = 100;

interface Notice {
  state: 'waiting' | 'there' | 'refused';
  reason: string;
  code: number;
  nextAt: number;
}

/**
 * Tells neighbours of the packages that tenants have pushed here, and gives them the files. What is to be forwarded is what is
 * on the disk: a neighbour that was away, or a broker that was killed, begins again with all that is not there yet.
 */
export class PackageForwarding {
  readonly #options: PackageForwardingOptions;
  /** By neighbour, and by tenant and digest. */
  readonly #notices = new Map<string, Map<string, Notice>>();
  readonly #busy = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: PackageForwardingOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  /** A neighbour is connected anew: nothing is known of what it has. */
  connected(neighbour: string): void {
    this.#notices.delete(neighbour);
    this.look();
  }

  /** Forwards what has not been forwarded. To be called when a package has come. */
  look(): void {
    for (const neighbour of this.#options.neighbours().ids) void this.#forwardTo(neighbour);
  }

  /** Packages that are still to be forwarded, and those that the neighbour does not take. */
  status(neighbour: string): Pick<NeighbourStatus, 'packages' | 'notTaken'> {
    const all = [...this.#wanted(neighbour)].map((one) => ({
      ...one,
      notice: this.#notices.get(neighbour)?.get(keyOf(one)),
    }));
    const notTaken = all
      .filter(({ notice }) => notice?.state === 'refused')
      .map(({ tenant, digest, notice }) => ({ tenant, digest, code: notice!.code, reason: notice!.reason }));
    const there = all.filter(({ notice }) => notice?.state === 'there').length;
    return {
      packages: { there, waiting: all.length - there - notTaken.length },
      notTaken: notTaken.slice(0, MAX_SHOWN),
    };
  }

  /** The handler of `files`. @throws KerbError */
  async files(neighbour: string, request: Buffer): Promise<Uint8Array> {
    const { tenant, digest } = PackageQuery.decode(request);
    const { taskPackage } = this.#allowed(neighbour, tenant, digest);
    const files = await readPackageFiles(taskPackage);
    return NeighbourReply.encode({
      files: { files: files.map(({ path, bytes }) => ({ path, size: bytes.length })) },
    }).finish();
  }

  /** A piece of a file. @throws KerbError */
  async piece(
    neighbour: string,
    tenant: string,
    digest: string,
    path: string,
    offset: number,
    size: number,
  ): Promise<Uint8Array> {
    const { taskPackage } = this.#allowed(neighbour, tenant, digest);
    const file = join(taskPackage.dir, path);
    const length = Math.min(size, MAX_PIECE);
    if ((await stat(file)).size < offset + length || length < 1) throw forbidden('the file has no such bytes');
    const parts: Buffer[] = [];
    for await (const part of createReadStream(file, { start: offset, end: offset + length - 1 }))
      parts.push(part as Buffer);
    return NeighbourReply.encode({ data: Buffer.concat(parts) }).finish();
  }

  /** @throws KerbError: a neighbour learns nothing of packages that are not for it */
  #allowed(neighbour: string, tenant: string, digest: string) {
    const found = this.#options.store.get(digest);
    const isAllowed = this.#options.neighbours().may(neighbour, tenant, 'packages') && found?.owners?.includes(tenant);
    if (found === undefined || found.fault !== undefined || !isAllowed) {
      throw new KerbError(ErrorCode.UnknownPackage, 'there is no such package for this neighbour');
    }
    return found;
  }

  *#wanted(neighbour: string): Generator<{ tenant: string; vehicle: string; digest: string }> {
    const neighbours = this.#options.neighbours();
    let count = 0;
    for (const { tenant, vehicle, digest } of this.#options.store.pushes()) {
      if (!neighbours.may(neighbour, tenant, 'packages') || count++ >= MAX_PACKAGES) continue;
      if (this.#options.store.get(digest)?.owners?.includes(tenant)) yield { tenant, vehicle, digest };
    }
  }

  async #forwardTo(neighbour: string): Promise<void> {
    if (this.#busy.has(neighbour)) return;
    this.#busy.add(neighbour);
    try {
      for (const one of [...this.#wanted(neighbour)]) {
        const link = this.#options.neighbours().link(neighbour);
        if (link === undefined || this.#isStopped) return;
        const notices = this.#notices.get(neighbour) ?? new Map<string, Notice>();
        this.#notices.set(neighbour, notices);
        const before = notices.get(keyOf(one));
        if (before?.state === 'there' || (before !== undefined && performance.now() < before.nextAt)) continue;
        const notice = await this.#notify(neighbour, one);
        // Connected anew meanwhile: what is known belongs to the old connection.
        if (this.#notices.get(neighbour) === notices) notices.set(keyOf(one), notice);
      }
    } finally {
      this.#busy.delete(neighbour);
    }
  }

  async #notify(
    neighbour: string,
    { tenant, vehicle, digest }: { tenant: string; vehicle: string; digest: string },
  ): Promise<Notice> {
    const { store, events } = this.#options;
    const name = store.get(digest)?.name ?? '';
    try {
      const link = this.#options.neighbours().link(neighbour)!;
      const { state } = await link.ask(
        'package',
        PackageNotice.encode({ tenant, digest, vehicle, name }).finish(),
        NOTICE_MS,
      );
      const isNew = state === 0;
      events.forwarded('package', neighbour, isNew ? 'taken' : 'there');
      if (isNew)
        events.audit({
          event: 'forward',
          by: `broker ${neighbour}`,
          tenant,
          digest,
          task: name,
          detail: 'the neighbour has taken the package',
        });
      return { state: 'there', reason: '', code: 0, nextAt: 0 };
    } catch (error) {
      if (!isKerbError(error)) throw error;
      const isRefused = error.context.refused === true;
      events.forwarded('package', neighbour, isRefused ? 'refused' : 'failed');
      this.#options.log.warn(
        { broker: neighbour, tenant, digest, code: error.code, err: error.message },
        'a package was not forwarded',
      );
      const waitMs = isRefused ? AGAIN_MS : LOOK_MS;
      const nextAt = performance.now() + waitMs;
      return { state: isRefused ? 'refused' : 'waiting', reason: error.message, code: error.code, nextAt };
    }
  }
}

function keyOf({ tenant, digest }: { tenant: string; digest: string }): string {
  return `${tenant}\n${digest}`;
}
