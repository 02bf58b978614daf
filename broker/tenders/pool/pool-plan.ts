/**
 * Which tenders to start and which to let go. Pure: what is there, the limits and the time in, steps out; `TenderPools`
 * carries them out.
 *
 * - A package has as many tenders as it lately had offloads at the same time, up to a limit; at least one while it is kept
 *   or was used lately.
 * - Whoever has offloads waiting and no tender comes first. For it, idle tenders of others are let go, the least recently
 *   used first; when none is idle, a busy one is let go as soon as its call ends.
 * - A further tender for a busy package takes only room that is free or held by tenders that nobody used lately.
 * - Starting ahead of need takes only room that is free.
 */

/** Times in milliseconds of one monotonic clock. */
export interface TenderView {
  readonly id: number;
  /** Leaving: it has been told to end. Retiring: it is told as soon as its call ends. */
  readonly state: 'Loading' | 'Waiting' | 'Busy' | 'Retiring' | 'Leaving';
  /** What it holds, or what it is taken to hold. */
  readonly bytes: number;
  readonly startedAt: number;
  /** When its last call ended, or it was ready for its first. */
  readonly freeSince: number;
}

export interface PoolView {
  readonly name: string;
  /** Offloads that wait for a tender. */
  readonly queued: number;
  /** Most offloads that waited or ran at the same time lately. */
  readonly demand: number;
  /** When `demand` may turn out lower. */
  readonly demandUntil: number;
  /** When the last offload came; -Infinity for never. */
  readonly usedAt: number;
  /** Since when it has had no tender; -Infinity for never had one. */
  readonly emptySince: number;
  /** One tender is started ahead and stays while there is room. */
  readonly kept: boolean;
  /** No tender is started before this moment; Infinity: never. */
  readonly startAt: number;
  /** Tenders that it may have: one while it has to prove itself, otherwise as the limits say. */
  readonly maxTenders: number;
  /** Tenders beside those, because their calls go on and on. */
  readonly long?: number;
  /** What one more tender is taken to hold. */
  readonly bytesEach: number;
  readonly tenders: readonly TenderView[];
}

export interface PoolLimits {
  /** Bytes that all tenders may hold while they wait. One tender may always be there. */
  readonly tenderMemory: number;
  /** Processes. */
  readonly maxTenders: number;
  readonly maxTendersPerTask: number;
  /** Tenders that may be loading at the same time. */
  readonly maxLoading: number;
  /** After this time a tender more than needed is let go, and one that idles makes room for a busy package. */
  readonly idleMs: number;
  /** A package that is not kept loses its last tender after this time. */
  readonly forgetMs: number;
  /** A busy tender has this long before it has to make room: starting one costs milliseconds. */
  readonly tenureMs: number;
}

export type PoolStep =
  | { readonly step: 'start'; readonly pool: string }
  /** Now when it waits, after its call when it is busy. */
  | { readonly step: 'let-go'; readonly pool: string; readonly tender: number };

export interface PoolPlan {
  readonly steps: readonly PoolStep[];
  /** When to plan again although nothing has happened; Infinity for never. */
  readonly wakeAt: number;
}

interface Draft {
  readonly view: PoolView;
  readonly wanted: number;
  /** The least recently used first. */
  readonly idle: TenderView[];
  readonly busy: TenderView[];
  /** Those that stay, and those that are to be started. */
  live: number;
}

export function planPools(pools: readonly PoolView[], limits: PoolLimits, now: number): PoolPlan {
  const plan = new Planning(limits, now);
  for (const view of pools) plan.look(view);
  plan.letGoSurplus();
  plan.fitMemory();
  plan.feedStarving();
  plan.grow();
  plan.startAhead();
  return { steps: plan.steps, wakeAt: plan.wakeAt };
}

class Planning {
  readonly steps: PoolStep[] = [];
  wakeAt = Number.POSITIVE_INFINITY;
  readonly #limits: PoolLimits;
  readonly #now: number;
  readonly #drafts: Draft[] = [];
  /** Room in use now, and once those that leave have left and those that were promised room have it. */
  readonly #present = { tenders: 0, bytes: 0 };
  readonly #promised = { tenders: 0, bytes: 0 };
  #loading = 0;

  constructor(limits: PoolLimits, now: number) {
    this.#limits = limits;
    this.#now = now;
  }

  look(view: PoolView): void {
    const staying = view.tenders.filter(({ state }) => state !== 'Leaving' && state !== 'Retiring');
    for (const { bytes } of view.tenders) add(this.#present, bytes);
    for (const { bytes } of staying) add(this.#promised, bytes);
    this.#loading += view.tenders.filter(({ state }) => state === 'Loading').length;
    const { forgetMs, maxTendersPerTask } = this.#limits;
    const usedLately = this.#now - view.usedAt < forgetMs;
    const least = view.kept || usedLately || view.queued > 0 ? 1 : 0;
    const cap = Math.min(view.maxTenders, maxTendersPerTask) + (view.long ?? 0);
    // What waits will be busy in a moment, when there is something to be busy with.
    const isIdle = ({ state }: TenderView) => state === 'Waiting' && view.queued === 0;
    const draft: Draft = {
      view,
      wanted: Math.min(cap, Math.max(view.demand, view.queued, least)),
      idle: staying.filter(isIdle).sort((a, b) => a.freeSince - b.freeSince),
      busy: staying.filter((tender) => tender.state !== 'Loading' && !isIdle(tender)),
      live: staying.length,
    };
    this.#drafts.push(draft);
    if (draft.wanted > least) this.#wake(view.demandUntil);
    if (!view.kept && usedLately) this.#wake(view.usedAt + forgetMs);
    if (draft.live < draft.wanted) this.#wake(view.startAt);
  }

  letGoSurplus(): void {
    for (const draft of this.#drafts) {
      while (draft.live > draft.wanted && draft.idle.length > 0) this.#letGo(draft, draft.idle[0]!);
      if (draft.live > draft.wanted) this.#wake(this.#now + this.#limits.idleMs);
    }
  }

  /** Tenders may turn out to hold more than they were taken to. */
  fitMemory(): void {
    while (this.#promised.bytes > this.#limits.tenderMemory && this.#promised.tenders > 1) {
      const found = this.#leastRecentlyUsed(() => true);
      if (found === undefined) return;
      this.#letGo(found.draft, found.tender);
    }
  }

  feedStarving(): void {
    // Whoever has to give up its last tender comes after those for whom it does.
    const starving = this.#drafts
      .filter((draft) => draft.view.queued > 0 && draft.view.tenders.length === 0 && this.#mayStart(draft))
      .sort((a, b) => a.view.emptySince - b.view.emptySince);
    for (const draft of starving) {
      const { bytesEach } = draft.view;
      for (
        let found = this.#victim(draft);
        !this.#fits(this.#promised, bytesEach) && found;
        found = this.#victim(draft)
      ) {
        this.#letGo(found.draft, found.tender);
      }
      this.#startOrPromise(draft);
    }
  }

  grow(): void {
    // One each, so that no package takes all the room before another one has had any.
    let growing = this.#drafts.filter(({ view }) => view.queued > 0);
    while (growing.length > 0) {
      growing = growing.filter((draft) => {
        if (draft.live === 0 || draft.live >= draft.wanted || !this.#mayStart(draft)) return false;
        const { bytesEach } = draft.view;
        while (!this.#fits(this.#promised, bytesEach)) {
          const found = this.#leastRecentlyUsed(
            (other, tender) => other !== draft && this.#now - tender.freeSince >= this.#limits.idleMs,
          );
          if (found === undefined) return false;
          this.#letGo(found.draft, found.tender);
        }
        return this.#startOrPromise(draft);
      });
    }
  }

  startAhead(): void {
    // The first tender of each, then those that are to be replaced.
    for (const first of [true, false]) {
      for (const draft of this.#drafts) {
        const { bytesEach, queued } = draft.view;
        if (queued > 0 || !this.#mayStart(draft)) continue;
        while (draft.live < (first ? Math.min(1, draft.wanted) : draft.wanted)) {
          if (!this.#fits(this.#promised, bytesEach) || !this.#fits(this.#present, bytesEach)) break;
          this.#startOrPromise(draft);
        }
      }
    }
  }

  #mayStart({ view }: Draft): boolean {
    return view.startAt <= this.#now;
  }

  #fits(room: { tenders: number; bytes: number }, bytes: number): boolean {
    if (room.tenders === 0) return true;
    return room.tenders < this.#limits.maxTenders && room.bytes + bytes <= this.#limits.tenderMemory;
  }

  /** Starts one if there is room now; if there will be, keeps that room for it. False when there is no more to do here. */
  #startOrPromise(draft: Draft): boolean {
    const { bytesEach, name } = draft.view;
    if (!this.#fits(this.#promised, bytesEach)) return false;
    // When those that leave have left, or one that loads is ready, there is another plan.
    const now = this.#fits(this.#present, bytesEach) && this.#loading < this.#limits.maxLoading;
    add(this.#promised, bytesEach);
    draft.live++;
    if (!now) return true;
    add(this.#present, bytesEach);
    this.#loading++;
    this.steps.push({ step: 'start', pool: name });
    return true;
  }

  #letGo(draft: Draft, tender: TenderView): void {
    remove(draft.idle, tender);
    remove(draft.busy, tender);
    draft.live--;
    this.#promised.tenders--;
    this.#promised.bytes -= tender.bytes;
    this.steps.push({ step: 'let-go', pool: draft.view.name, tender: tender.id });
  }

  #leastRecentlyUsed(may: (draft: Draft, tender: TenderView) => boolean): Victim | undefined {
    let found: Victim | undefined;
    for (const draft of this.#drafts) {
      for (const tender of draft.idle) {
        if (found !== undefined && tender.freeSince >= found.tender.freeSince) break;
        if (may(draft, tender)) found = { draft, tender };
      }
    }
    return found;
  }

  /** Who makes room for a package that has none: the idle first, then one of those that have most. */
  #victim(starving: Draft): Victim | undefined {
    const idle = this.#leastRecentlyUsed((draft) => draft !== starving);
    if (idle !== undefined) return idle;
    let found: Victim | undefined;
    for (const draft of this.#drafts) {
      for (const tender of draft.busy) {
        const leavesAt = tender.startedAt + this.#limits.tenureMs;
        if (leavesAt > this.#now) this.#wake(leavesAt);
        else if (
          found === undefined ||
          draft.live > found.draft.live ||
          (draft.live === found.draft.live && tender.startedAt < found.tender.startedAt)
        )
          found = { draft, tender };
      }
    }
    return found;
  }

  #wake(at: number): void {
    if (at > this.#now) this.wakeAt = Math.min(this.wakeAt, at);
  }
}

interface Victim {
  readonly draft: Draft;
  readonly tender: TenderView;
}

function add(room: { tenders: number; bytes: number }, bytes: number): void {
  room.tenders++;
  room.bytes += bytes;
}

function remove(list: TenderView[], tender: TenderView): void {
  const at = list.indexOf(tender);
  if (at >= 0) list.splice(at, 1);
}
