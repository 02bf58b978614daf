import type { Logger } from '../../../shared/base/log.ts';
import { AnswerTimeout, type Engine, engineMessage, engineStatus, withTimeout } from '../../engine/docker-client.ts';
import type { ObservedContainer } from '../../planner/state.ts';
import { keptImages } from '../kept-images.ts';
import { hasEnded, imageId, inspectContainer, listIds } from './observe.ts';
import { SteadyTimes } from './steady-times.ts';

/** How long one answer of the engine may take. */
const ANSWER_TIMEOUT_MS = 15_000;

export interface ObserverParts {
  readonly engine: Engine;
  /** Owner label of this OBU. */
  readonly owner: string;
  /** See Places. */
  readonly stateHash: string;
  /** Something is known that was not known before. */
  readonly onChange: () => void;
  /** A look that nobody waits for has found that the engine does not answer. */
  readonly onFailure: (error: unknown) => void;
  readonly log: Logger;
}

/** A look that is going on, and the one that is to follow it because somebody asked after it had begun. */
interface Look {
  readonly now: Promise<void>;
  next: Promise<void> | undefined;
}

/**
 * What the engine has of ours, kept up to date container by container: each is looked at when an event names it or a step
 * has changed it, and no answer waits for another one. The engine answers nothing about a container that it is starting.
 */
export class Observer {
  readonly #parts: ObserverParts;
  readonly #containers = new Map<string, ObservedContainer>();
  readonly #looks = new Map<string, Look>();
  #images: ReadonlyMap<string, string> = new Map();
  #kept: ReadonlyMap<string, string> = new Map();
  /** Containers of which it is known that they had ended before the engine did; undefined: it has not ended. */
  #endedBefore: ReadonlySet<string> | undefined;
  /** Whether an exit code of 0 may be the engine's doing as well. */
  #isSureOfEnds = true;
  readonly #lost = new Set<string>();
  readonly #times = new SteadyTimes();

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  /** The oldest first. */
  get containers(): readonly ObservedContainer[] {
    return [...this.#containers.values()];
  }

  /** Id by what images were asked for by. */
  get images(): ReadonlyMap<string, string> {
    return this.#images;
  }

  /** Image id by workload. */
  get kept(): ReadonlyMap<string, string> {
    return this.#kept;
  }

  /**
   * The engine has ended, or does so now: a container that is found ended when it is back was taken along.
   * @param isWatched False when nobody has watched until it ended: who ended with exit code 0 then has ended by itself.
   */
  engineEnded(isWatched: boolean): void {
    const ended = [...this.#containers.values()].filter(hasEnded).map(({ id }) => id);
    this.#endedBefore = new Set([...(this.#endedBefore ?? []), ...ended]);
    this.#isSureOfEnds = isWatched;
  }

  /**
   * Looks at all containers, those that nobody has heard of included. One of which the engine does not answer is left for
   * later when it is known already.
   * @throws errors of dockerode
   */
  async lookAtAll(): Promise<void> {
    const { engine, owner } = this.#parts;
    const endedBefore = this.#endedBefore;
    const ids = await withTimeout(listIds(engine, owner), ANSWER_TIMEOUT_MS);
    const all = [...new Set([...ids, ...this.#containers.keys()])];
    await Promise.all(all.map((id) => this.lookAt(id).catch((error: unknown) => this.#leaveForLater(id, error))));
    // From here on everybody ends by himself.
    if (this.#endedBefore === endedBefore) this.#endedBefore = undefined;
  }

  #leaveForLater(id: string, error: unknown): void {
    const isSilent = error instanceof AnswerTimeout || engineStatus(error) !== undefined;
    if (!isSilent || !this.#containers.has(id)) throw error;
    this.#parts.log.debug(
      { workload: this.#containers.get(id)?.workload, err: engineMessage(error) },
      'cannot inspect a container',
    );
  }

  /** Looks at one container, not before now. @throws errors of dockerode */
  lookAt(id: string): Promise<void> {
    const look = this.#looks.get(id);
    if (look === undefined) return this.#begin(id);
    look.next ??= look.now.catch(() => {}).then(() => this.#begin(id)); // who waits for the first one hears of it
    return look.next;
  }

  /** An event has named this one. */
  hear(id: string): void {
    this.lookAt(id).catch((error: unknown) => {
      // That it does not answer about one says nothing about the others.
      if (!(error instanceof AnswerTimeout) && engineStatus(error) === undefined) this.#parts.onFailure(error);
    });
  }

  /** Ids of these images by what they are asked for by, for those that are there. @throws errors of dockerode */
  async idsOf(names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const { engine } = this.#parts;
    const all = [...new Set(names)];
    const ids = await withTimeout(Promise.all(all.map((name) => imageId(engine, name))), ANSWER_TIMEOUT_MS);
    return new Map(all.flatMap((name, i) => (ids[i] === undefined ? [] : [[name, ids[i]]])));
  }

  /** Which of these images are there, by name or id, and which are kept. @throws errors of dockerode */
  async lookAtImages(names: readonly string[]): Promise<void> {
    const { engine, stateHash } = this.#parts;
    const [kept, images] = await Promise.all([
      withTimeout(keptImages(engine, stateHash), ANSWER_TIMEOUT_MS),
      this.idsOf(names),
    ]);
    this.#kept = kept;
    this.#images = images;
  }

  #begin(id: string): Promise<void> {
    const look: Look = { now: this.#look(id), next: undefined };
    this.#looks.set(id, look);
    const done = () => {
      // The one that follows takes its place; until it begins, who asks is answered by it, too.
      if (look.next === undefined && this.#looks.get(id) === look) this.#looks.delete(id);
    };
    look.now.then(done, done);
    return look.now;
  }

  async #look(id: string): Promise<void> {
    const { engine, owner, onChange } = this.#parts;
    const seen = await withTimeout(inspectContainer(engine, id, this.#times), ANSWER_TIMEOUT_MS);
    const before = this.#containers.get(id);
    if (seen === undefined || seen.owner !== owner) {
      this.#lost.delete(id);
      this.#times.forget(id);
      if (this.#containers.delete(id)) onChange();
      return;
    }
    if (hasEnded(seen) && this.#endedBefore !== undefined && !this.#endedBefore.has(id)) {
      if (this.#isSureOfEnds || seen.exitCode !== 0) this.#lost.add(id);
    }
    // It runs: whatever ends it next is another thing.
    if (!hasEnded(seen)) this.#lost.delete(id);
    const known: ObservedContainer = {
      ...seen,
      ...(this.#lost.has(id) && { endedWithEngine: true }),
    };
    if (JSON.stringify(known) === JSON.stringify(before)) return;
    this.#containers.set(id, known);
    onChange();
  }
}
