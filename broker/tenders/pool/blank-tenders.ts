import { messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { TenderGroups } from '../cgroups/tender-groups.ts';
import type { WishedIsolation } from '../process/tender.ts';
import { TenderProcess } from '../process/tender-process.ts';

/** A new blank is started so long after one was taken, in milliseconds: first comes the call that it was taken for. */
const REFILL_AFTER_MS = 50;

export interface BlankTendersOptions {
  /** How many wait. 0: every tender is started when it is needed. */
  readonly count: number;
  /** What they can be asked for. */
  readonly isolation: WishedIsolation;
  readonly log: Logger;
  /** Control groups for all of them. */
  readonly groups?: TenderGroups;
  /** Makes one that is not started; default a `TenderProcess`. */
  readonly create?: () => TenderProcess;
}

/**
 * Tenders that are started, sealed and have proved their isolation before anybody knows which image they will hold: what is
 * left of a cold start is the image itself. Each takes one image in its life, as every tender.
 */
export class BlankTenders {
  readonly #options: BlankTendersOptions;
  readonly #blanks = new Set<TenderProcess>();
  /** Under way to being blank. */
  readonly #preparing = new Map<TenderProcess, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #running = false;

  constructor(options: BlankTendersOptions) {
    this.#options = options;
  }

  /** Blanks that wait now. */
  get waiting(): number {
    let count = 0;
    for (const { state } of this.#blanks) if (state === 'Loading') count++;
    return count;
  }

  /** Resolves when all of them wait, or are known not to. That costs nobody but the first calls anything: it is logged. */
  async start(): Promise<void> {
    this.#running = true;
    this.#fill();
    await Promise.all(this.#preparing.values());
  }

  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    const all = [...this.#blanks, ...this.#preparing.keys()];
    this.#blanks.clear();
    await Promise.all(all.map((tender) => tender.stop()));
    await Promise.all(this.#preparing.values());
  }

  /** A tender for this image, not started: a blank one where there is one. It belongs to the caller. */
  take(imagePath: string, log: Logger, isolation: WishedIsolation, declaredBytes?: number): TenderProcess {
    const tender = this.#next() ?? this.#create();
    tender.give(imagePath, log, isolation, declaredBytes);
    if (this.#running && this.#options.count > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#fill(), REFILL_AFTER_MS);
    }
    return tender;
  }

  #next(): TenderProcess | undefined {
    for (const tender of this.#blanks) {
      this.#blanks.delete(tender);
      if (tender.state === 'Loading') return tender;
    }
    return undefined;
  }

  #create(): TenderProcess {
    const { isolation, log, groups, create = () => new TenderProcess({ log, isolation, groups }) } = this.#options;
    return create();
  }

  #fill(): void {
    for (const tender of this.#blanks) if (tender.state !== 'Loading') this.#blanks.delete(tender);
    while (this.#running && this.#blanks.size + this.#preparing.size < this.#options.count) {
      const tender = this.#create();
      this.#preparing.set(tender, this.#prepare(tender));
    }
  }

  async #prepare(tender: TenderProcess): Promise<void> {
    try {
      await tender.prepare();
      if (this.#running) this.#blanks.add(tender);
      else await tender.stop();
    } catch (error) {
      // The next tender that is needed finds the same trouble and tells it to whoever needs it.
      if (this.#running) this.#options.log.warn({ err: messageOf(error) }, 'cannot start a tender ahead of use');
      await tender.stop();
    } finally {
      this.#preparing.delete(tender);
    }
  }
}
