import type { TransferState } from '../../telemetry/transfer-metrics.ts';
import type { Sender } from '../limits/senders.ts';
import type { TransferLimits } from './transfer-link.ts';
import type { Upload } from './upload.ts';

interface VehicleUse {
  readonly waiting: Upload[];
  open: number;
  active: number;
  kept: number;
}

/**
 * Which inputs may come now. A vehicle has a few at a time, its most urgent first; what waits has no memory. Vehicles take
 * turns at the memory, of which one tenant may have half.
 */
export class UploadOrder {
  readonly #limits: TransferLimits;
  readonly #begin: (upload: Upload) => void;
  /** Those that had a turn last are last. */
  readonly #vehicles = new Map<Sender, VehicleUse>();
  readonly #bytesOf = new Map<string, number>();
  #bytes = 0;

  /** @param begin it has memory from now on, and may be sent */
  constructor(limits: TransferLimits, begin: (upload: Upload) => void) {
    this.#limits = limits;
    this.#begin = begin;
  }

  /** Memory of all that have any. */
  get bytes(): number {
    return this.#bytes;
  }

  openOf(sender: Sender): number {
    return this.#vehicles.get(sender)?.open ?? 0;
  }

  keptOf(sender: Sender): number {
    return this.#vehicles.get(sender)?.kept ?? 0;
  }

  /** It waits from now on; `schedule` is still to be called. */
  added(upload: Upload): void {
    let use = this.#vehicles.get(upload.sender);
    if (use === undefined) {
      use = { waiting: [], open: 0, active: 0, kept: 0 };
      this.#vehicles.set(upload.sender, use);
    }
    use.open++;
    this.#enter(use, upload);
  }

  removed(upload: Upload): void {
    const use = this.#vehicles.get(upload.sender)!;
    this.#exit(use, upload);
    this.#count(upload, -upload.bytes);
    if (--use.open === 0) this.#vehicles.delete(upload.sender);
    this.schedule();
  }

  setState(upload: Upload, state: TransferState): void {
    const use = this.#vehicles.get(upload.sender)!;
    this.#exit(use, upload);
    upload.state = state;
    this.#enter(use, upload);
    this.schedule();
  }

  /** Begins all that may begin. */
  schedule(): void {
    for (const [sender, use] of [...this.#vehicles]) {
      let hadTurn = false;
      while (use.active < this.#limits.activePerVehicle && use.waiting.length > 0) {
        const next = use.waiting.reduce(firstOf);
        if (!this.#fits(next)) break;
        this.#exit(use, next);
        next.state = 'active';
        this.#enter(use, next);
        const before = next.bytes;
        this.#begin(next);
        this.#count(next, next.bytes - before);
        hadTurn = true;
      }
      if (!hadTurn || !this.#vehicles.delete(sender)) continue;
      this.#vehicles.set(sender, use);
    }
  }

  #fits({ tenant, size, bytes }: Upload): boolean {
    const more = size - bytes;
    if (more === 0) return true;
    const { maxBytes } = this.#limits;
    const ofTenant = this.#bytesOf.get(tenant) ?? 0;
    if (ofTenant > 0 && ofTenant + more > maxBytes / 2) return false;
    // Tenants that have filled it keep out none that has nothing of it, up to twice as much.
    return this.#bytes === 0 || this.#bytes + more <= (ofTenant === 0 ? 2 : 1) * maxBytes;
  }

  #count({ tenant }: Upload, bytes: number): void {
    this.#bytes += bytes;
    const ofTenant = (this.#bytesOf.get(tenant) ?? 0) + bytes;
    if (ofTenant === 0) this.#bytesOf.delete(tenant);
    else this.#bytesOf.set(tenant, ofTenant);
  }

  #enter(use: VehicleUse, upload: Upload): void {
    if (upload.state === 'active') use.active++;
    else if (upload.state === 'kept') use.kept++;
    else if (upload.state === 'waiting') use.waiting.push(upload);
  }

  #exit(use: VehicleUse, upload: Upload): void {
    if (upload.state === 'active') use.active--;
    else if (upload.state === 'kept') use.kept--;
    else if (upload.state === 'waiting') use.waiting.splice(use.waiting.indexOf(upload), 1);
  }
}

/** One that goes on has its memory already: behind one that waits for that memory, both would wait until a budget ends. */
function firstOf(best: Upload, one: Upload): Upload {
  const [hadMemory, hasMemory] = [best.bytes > 0, one.bytes > 0];
  if (hadMemory !== hasMemory) return hasMemory ? one : best;
  return one.rank < best.rank ? one : best;
}
