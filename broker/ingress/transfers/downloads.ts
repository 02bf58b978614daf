/**
 * Outputs that go out in chunks, as their vehicles give credit for them.
 *
 * Hot path: a chunk is encoded with one copy. It is written when little of what was written before is still on this side, so
 * that whatever else a vehicle is told goes between two chunks; and after a millisecond others have their turn.
 */

import { ErrorCode } from '../../../shared/base/errors.ts';
import { sha256 } from '../../../shared/base/hash/sha256.ts';
import { type Refusal, refusal } from '../../../shared/base/refusal.ts';
import { CHUNK_BYTES, type Credit, encodeChunk, MAX_WHOLE, type Payload } from '../../../shared/protocol/chunks.ts';
import type { TransferCounts, TransferEnd, TransferMetrics } from '../../telemetry/transfer-metrics.ts';
import type { TransferLimits, TransferLink } from './transfer-link.ts';

const TURN_MS = 1;
const LOOK_MS = 250;

interface Download {
  readonly id: string;
  readonly link: TransferLink;
  readonly output: Buffer;
  /** Undefined until the vehicle has said where to begin. */
  at: number | undefined;
  allowed: number;
  movedAt: number;
}

interface LinkUse {
  /** By the id of the offload; the one whose turn it is first. */
  readonly downloads: Map<string, Download>;
  bytes: number;
  isListed: boolean;
}

export class Downloads {
  readonly #limits: TransferLimits;
  readonly #metrics: TransferMetrics;
  readonly #links = new Map<TransferLink, LinkUse>();
  readonly #bytesOf = new Map<string, number>();
  /** Those that may have something to write, the next one first. */
  readonly #round: TransferLink[] = [];
  #bytes = 0;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: TransferLimits, metrics: TransferMetrics) {
    this.#limits = limits;
    this.#metrics = metrics;
  }

  counts(): TransferCounts {
    let waiting = 0;
    let active = 0;
    for (const { downloads } of this.#links.values()) {
      for (const { at } of downloads.values()) {
        if (at === undefined) waiting++;
        else active++;
      }
    }
    return { states: { waiting, active }, bytes: this.#bytes };
  }

  isFor({ client }: TransferLink, output: Buffer): boolean {
    return output.length > MAX_WHOLE && client?.chunks === true;
  }

  /** Why this output cannot be held for its vehicle. */
  refusal({ client, sender }: TransferLink, { length }: Buffer): Refusal | undefined {
    const { tenant } = client!;
    const held = this.#bytesOf.get(tenant) ?? 0;
    if (held === 0 || held + length <= sender!.limits.bytesInFlight) return undefined;
    const message = `outputs of ${held} bytes wait to be fetched by tenant ${tenant}; ${length} more are too many`;
    return { ...refusal(ErrorCode.QuotaSpent, message, 1000), quota: 'bytes_in_flight' };
  }

  /** Its payload is what the vehicle is to be told. It is sent as the vehicle gives credit. */
  async add(link: TransferLink, id: string, output: Buffer): Promise<Payload> {
    const use = this.#links.get(link) ?? { downloads: new Map<string, Download>(), bytes: 0, isListed: false };
    this.#links.set(link, use);
    // Callers of the same id by one connection get the same; an id that is used anew has another output.
    const there = use.downloads.get(id);
    if (there !== undefined && there.output !== output) this.#drop(link, use, there, 'cancelled');
    if (there?.output !== output) {
      use.downloads.set(id, { id, link, output, at: undefined, allowed: 0, movedAt: performance.now() });
      this.#count(link, use, output.length);
    }
    this.#timer ??= setInterval(() => this.#look(performance.now()), LOOK_MS);
    const hash = await sha256(output);
    const download = use.downloads.get(id);
    if (download !== undefined) download.movedAt = performance.now();
    return { size: output.length, sha256: hash };
  }

  /** False: it belongs to no transfer, or cannot be. */
  credit(link: TransferLink, { id, bytes, from }: Credit): boolean {
    const use = this.#links.get(link);
    const download = use?.downloads.get(id);
    if (use === undefined || download === undefined || !(bytes > 0)) return false;
    const { length } = download.output;
    if (from !== undefined) {
      if (from >= length) return false;
      if (from > 0 && download.at === undefined) this.#metrics.resumed('output');
      download.at = from;
      download.allowed = from;
    } else if (download.at === undefined) return false;
    download.allowed = Math.min(length, download.allowed + bytes);
    download.movedAt = performance.now();
    this.drained(link);
    return true;
  }

  /** It can be written to. */
  drained(link: TransferLink): void {
    const use = this.#links.get(link);
    if (use === undefined || use.isListed) return;
    use.isListed = true;
    this.#round.push(link);
    this.#immediate ??= setImmediate(this.#next);
  }

  cancel(link: TransferLink, id: string): boolean {
    return this.#end(link, id, 'cancelled');
  }

  linkLost(link: TransferLink): void {
    for (const id of [...(this.#links.get(link)?.downloads.keys() ?? [])]) this.#end(link, id, 'lost');
  }

  stop(): void {
    for (const [link, { downloads }] of [...this.#links]) {
      for (const id of [...downloads.keys()]) this.#end(link, id, 'stopped');
    }
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
  }

  /** One chunk for each link of the round, again and again, until the turn is over. */
  readonly #next = (): void => {
    const until = performance.now() + TURN_MS;
    for (let link = this.#round.shift(); link !== undefined; link = this.#round.shift()) {
      const use = this.#links.get(link);
      if (use !== undefined) {
        use.isListed = this.#writeOne(link, use);
        if (use.isListed) this.#round.push(link);
      }
      if (performance.now() > until) break;
    }
    this.#immediate = this.#round.length > 0 ? setImmediate(this.#next) : undefined;
  };

  /** False: there is nothing to write, or it cannot be written now; `drained` or a credit comes. */
  #writeOne(link: TransferLink, use: LinkUse): boolean {
    if (!link.isServed || !link.canWrite) return false;
    for (const download of use.downloads.values()) {
      const { id, output, at, allowed } = download;
      if (at === undefined || at >= allowed) continue;
      const data = output.subarray(at, Math.min(allowed, at + CHUNK_BYTES));
      link.write('chunk', encodeChunk({ id, output: true, offset: at, data }));
      this.#metrics.moved('output', data.length);
      download.at = at + data.length;
      download.movedAt = performance.now();
      if (download.at === output.length) this.#end(link, id, 'done');
      else {
        use.downloads.delete(id);
        use.downloads.set(id, download);
      }
      return true;
    }
    return false;
  }

  #end(link: TransferLink, id: string, end: TransferEnd): boolean {
    const use = this.#links.get(link);
    const download = use?.downloads.get(id);
    if (use === undefined || download === undefined) return false;
    this.#drop(link, use, download, end);
    if (use.downloads.size === 0) this.#links.delete(link);
    if (this.#links.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    return true;
  }

  #drop(link: TransferLink, use: LinkUse, { id, output }: Download, end: TransferEnd): void {
    use.downloads.delete(id);
    this.#count(link, use, -output.length);
    this.#metrics.ended('output', end);
  }

  #count({ client }: TransferLink, use: LinkUse, bytes: number): void {
    const { tenant } = client!;
    use.bytes += bytes;
    this.#bytes += bytes;
    const held = (this.#bytesOf.get(tenant) ?? 0) + bytes;
    if (held === 0) this.#bytesOf.delete(tenant);
    else this.#bytesOf.set(tenant, held);
  }

  #look(now: number): void {
    for (const [link, { downloads }] of [...this.#links]) {
      for (const { id, movedAt } of [...downloads.values()]) {
        if (now - movedAt > this.#limits.stallMs) this.#end(link, id, 'stalled');
      }
    }
  }
}
