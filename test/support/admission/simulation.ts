/**
 * Admission under load, by events instead of by a clock: who asks for what when is made from a seed, slots run one call
 * each, and a call is ended at its deadline as a tender does it.
 */
import { Admission } from '../../../broker/admission/admission.ts';
import type { AdmissionOptions, Waiting } from '../../../broker/admission/terms.ts';
import { Deadline } from '../../../shared/base/deadline.ts';
import type { Random } from '../../../shared/base/random.ts';
import { seededRandom } from '../../../shared/base/random.ts';
import type { ServiceClass } from '../../../shared/protocol/service-class.ts';

/** One stream of offloads. Times in milliseconds. */
export interface Source {
  readonly tenant: string;
  readonly vehicle?: string;
  readonly digest?: string;
  readonly serviceClass?: ServiceClass;
  /** Offloads a millisecond; they come at random (Poisson). */
  readonly rate: number;
  readonly budgetMs: number;
  readonly dwellMs?: number;
  /** One offload's run, and the size of its input. */
  readonly run: (random: Random, now: number) => { readonly ms: number; readonly bytes: number };
}

export interface SimulationOptions {
  readonly slots: number;
  readonly forMs: number;
  readonly seed: number;
  readonly sources: readonly Source[];
  readonly admission?: Partial<AdmissionOptions<Simulated>>;
  /** Counts only what comes from then on. */
  readonly fromMs?: number;
  /** Calls of one package that run at the same time; no limit without. */
  readonly tendersEach?: number;
  /** Processors that all runs share evenly; without it, each slot has one of its own. */
  readonly cores?: number;
  /** Offloads come evenly spaced, not at random. */
  readonly even?: boolean;
}

export interface Simulated extends Waiting {
  readonly runMs: number;
  readonly source: number;
}

export interface Tally {
  offered: number;
  refused: number;
  /** Taken, and dropped before a start. */
  dropped: number;
  /** Answered in time. */
  hits: number;
  /** Runs that their deadline ended. */
  useless: number;
  /** Milliseconds of the runs that were answered in time. */
  workMs: number;
  /** The sum of what was waited for a drop, in milliseconds. */
  droppedAfterMs: number;
}

export interface SimulationResult {
  /** One for each source. */
  readonly tallies: readonly Tally[];
  readonly total: Tally;
  /** Work that was answered in time, of what the slots could have done. */
  readonly goodput: number;
  /** Useless runs, of all runs. */
  readonly uselessShare: number;
}

interface Event {
  readonly at: number;
  readonly happen: () => void;
}

/** One that runs. */
interface Running {
  readonly entry: Simulated;
  leftMs: number;
}

export const DIGEST = 'sha256:a';

export function simulate(options: SimulationOptions): SimulationResult {
  return new Simulation(options).result();
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #tallies: Tally[];
  readonly #events: Event[] = [];
  readonly #busy = new Map<string, number>();
  readonly #admission: Admission<Simulated>;
  #now = 0;
  #wakeAt = Number.POSITIVE_INFINITY;
  readonly #running = new Set<Running>();
  /** Until when `leftMs` of the running ones counts, and which plan of their next end is the newest. */
  #ranUntil = 0;
  #plan = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#tallies = options.sources.map(nothing);
    const { slots } = options;
    this.#admission = new Admission<Simulated>({
      limits: {
        maxQueuedPerPackage: 256,
        maxQueuedPerTenant: 128,
        maxQueuedBytes: 1e9,
        maxRunning: slots,
        longRunMs: 1e9,
        yieldMs: 1e9,
        wayBackMs: 1,
      },
      ...options.admission,
      onDropped: (entry, waitedMs) =>
        this.#tally(entry, (tally) => {
          tally.dropped++;
          tally.droppedAfterMs += waitedMs;
        }),
    });
  }

  result(): SimulationResult {
    const { sources, forMs, slots, seed, fromMs = 0 } = this.#options;
    for (const [index, source] of sources.entries()) this.#nextOf(source, index, seededRandom(seed * 1000 + index));
    for (let event = this.#pop(); event !== undefined && event.at < forMs; event = this.#pop()) {
      this.#now = event.at;
      event.happen();
      this.#dispatch();
    }
    const total = nothing();
    for (const tally of this.#tallies) {
      for (const key of Object.keys(total) as (keyof Tally)[]) total[key] += tally[key];
    }
    const { cores = slots } = this.#options;
    const goodput = total.workMs / (cores * (forMs - fromMs));
    const uselessShare = total.useless / Math.max(1, total.useless + total.hits);
    return { tallies: this.#tallies, total, goodput, uselessShare };
  }

  #nextOf(source: Source, index: number, random: Random): void {
    const gap = this.#options.even ? 1 : -Math.log(1 - random());
    const at = this.#now + gap / source.rate;
    this.#at(at, () => {
      this.#arrive(source, index, random);
      this.#nextOf(source, index, random);
    });
  }

  #arrive(source: Source, index: number, random: Random): void {
    const { ms, bytes } = source.run(random, this.#now);
    const entry: Simulated = {
      tenant: source.tenant,
      vehicle: source.vehicle ?? `v${index}`,
      taskDigest: source.digest ?? DIGEST,
      serviceClass: source.serviceClass ?? 'normal',
      deadline: new Deadline(source.budgetMs, this.#now),
      dwellMs: source.dwellMs ?? Number.POSITIVE_INFINITY,
      input: { length: bytes },
      runMs: ms,
      source: index,
    };
    this.#tally(entry, (tally) => tally.offered++);
    const refusal = this.#admission.admit(entry, this.#now);
    if (refusal !== undefined) this.#tally(entry, (tally) => tally.refused++);
  }

  #dispatch(): void {
    const { tendersEach = Number.POSITIVE_INFINITY } = this.#options;
    const isFree = (digest: string) => (this.#busy.get(digest) ?? 0) < tendersEach;
    for (let entry = this.#admission.take(this.#now, isFree); entry; entry = this.#admission.take(this.#now, isFree)) {
      this.#run(entry);
    }
    const { wakeAt } = this.#admission;
    if (wakeAt >= this.#wakeAt || wakeAt <= this.#now) return;
    this.#wakeAt = wakeAt;
    this.#at(wakeAt, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
    });
  }

  #run(entry: Simulated): void {
    const { taskDigest, runMs } = entry;
    this.#busy.set(taskDigest, (this.#busy.get(taskDigest) ?? 0) + 1);
    this.#advance();
    this.#running.add({ entry, leftMs: runMs });
    this.#planEnd();
  }

  /** The share of a processor that each run has. */
  get #speed(): number {
    const { slots, cores = slots } = this.#options;
    return Math.min(1, cores / Math.max(1, this.#running.size));
  }

  #advance(): void {
    const ms = (this.#now - this.#ranUntil) * this.#speed;
    for (const one of this.#running) one.leftMs -= ms;
    this.#ranUntil = this.#now;
  }

  #planEnd(): void {
    let at = Number.POSITIVE_INFINITY;
    for (const { entry, leftMs } of this.#running) {
      at = Math.min(at, this.#now + leftMs / this.#speed, entry.deadline.at);
    }
    const plan = ++this.#plan;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#at(at, () => {
      if (plan !== this.#plan) return;
      this.#advance();
      for (const one of this.#running) if (one.leftMs < 1e-6 || one.entry.deadline.isOver(at)) this.#end(one);
      this.#planEnd();
    });
  }

  #end(running: Running): void {
    this.#running.delete(running);
    const { entry, leftMs } = running;
    const { taskDigest, runMs } = entry;
    this.#busy.set(taskDigest, this.#busy.get(taskDigest)! - 1);
    const met = leftMs < 1e-6;
    this.#admission.ended(entry, this.#now, met ? 'met' : 'missed');
    this.#tally(entry, (tally) => {
      if (!met) tally.useless++;
      else {
        tally.hits++;
        tally.workMs += runMs;
      }
    });
  }

  #tally(entry: Simulated, count: (tally: Tally) => void): void {
    if (this.#now >= (this.#options.fromMs ?? 0)) count(this.#tallies[entry.source]!);
  }

  #at(at: number, happen: () => void): void {
    const events = this.#events;
    let low = 0;
    let high = events.length;
    // The last one is the next one.
    while (low < high) {
      const middle = (low + high) >> 1;
      if (events[middle]!.at > at) low = middle + 1;
      else high = middle;
    }
    events.splice(low, 0, { at, happen });
  }

  #pop(): Event | undefined {
    return this.#events.pop();
  }
}

function nothing(): Tally {
  return { offered: 0, refused: 0, dropped: 0, hits: 0, useless: 0, workMs: 0, droppedAfterMs: 0 };
}
