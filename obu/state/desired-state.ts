import { type SeenState, speaksForManifest } from '../../shared/api/workload-state.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { ObuOffers } from '../manifest/check.ts';
import { parseManifest, parseStoredManifest } from '../manifest/manifest.ts';
import { replaceService } from '../manifest/replace-service.ts';
import type { Workload } from '../manifest/workload.ts';
import type { Desired } from '../planner/state.ts';
import type { Report } from '../telemetry/report.ts';
import { desiredOf } from '../workloads/container-spec.ts';
import { changesBetween, type WorkloadChange } from './changes.ts';
import { type Generation, putAside, StateStore } from './state-store.ts';

/** A manifest is a good one when all of its workloads have been well for so long. */
const GOOD_AFTER_MS = 10_000;

export interface ManifestFile {
  /** Name for messages. */
  readonly file: string;
  readonly text: string;
}

/** The result of applying a manifest. */
export interface Applied {
  /** That of before when nothing in the text is another. */
  readonly generation: number;
  readonly file: string;
  readonly changes: readonly WorkloadChange[];
}

export interface DesiredStateParts {
  /** Database file. */
  readonly database: string;
  readonly offers: ObuOffers;
  readonly report: Report;
  readonly log: Logger;
  /** Milliseconds since 1970, for stamps. */
  readonly nowMs?: () => number;
  /** Milliseconds of a clock that is never set, for how long something has been so. */
  readonly steadyMs?: () => number;
}

/**
 * Which workloads this OBU is to run: the manifest that was applied last. It is written before anybody acts on it, so
 * that after a power cut the OBU goes on where it was.
 */
export class DesiredState {
  readonly #parts: DesiredStateParts;
  readonly #nowMs: () => number;
  readonly #steadyMs: () => number;
  #store: StateStore;
  #current: Generation | undefined;
  #wanted: readonly Desired[] = [];
  readonly #followers = new Set<(wanted: readonly Desired[]) => void>();
  #wellSinceMs: number | undefined;

  constructor(parts: DesiredStateParts) {
    this.#parts = parts;
    this.#nowMs = parts.nowMs ?? Date.now;
    this.#steadyMs = parts.steadyMs ?? (() => performance.now());
    this.#store = new StateStore(parts.database);
  }

  /**
   * Reads what was wanted before.
   * @param manifest Is applied when it is another one; then even a state that is damaged is no obstacle: it is put
   * aside.
   * @throws KerbError StateDamaged | StateUnavailable | BadManifest
   */
  start(manifest: ManifestFile | undefined): void {
    const { log } = this.#parts;
    // Before anything is written or put aside.
    const fault = manifest && this.#faultOf(manifest);
    try {
      this.#openStore(manifest !== undefined && fault === undefined);
    } catch (error) {
      throw fault ?? error;
    }
    this.#current = this.#store.current();
    // A manifest that was accepted before stays valid, whatever new ones must fulfil.
    if (fault !== undefined && manifest!.text !== this.#current?.text) throw fault;
    if (manifest !== undefined && manifest.text !== this.#current?.text) {
      this.#write(manifest);
    } else if (this.#current !== undefined) {
      const { generation, file } = this.#current;
      log.info({ generation, file }, 'continuing with the stored manifest');
    } else {
      log.warn('no manifest has been applied yet; apply one with kerb obu apply FILE');
    }
    this.#wanted = this.#parse();
  }

  stop(): void {
    this.#store.stop();
  }

  get wanted(): readonly Desired[] {
    return this.#wanted;
  }

  /**
   * From now on `follower` is told what is wanted whenever that is something else; it is written down by then.
   * @returns what ends that
   */
  follow(follower: (wanted: readonly Desired[]) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Also what the planner remembers. */
  get store(): StateStore {
    return this.#store;
  }

  /** The changes that a manifest would make. @throws KerbError BadManifest */
  compare({ file, text }: ManifestFile): {
    readonly wanted: readonly Desired[];
    readonly changes: WorkloadChange[];
  } {
    const wanted = parseManifest(text, file, this.#parts.offers).map(desiredOf);
    return { wanted, changes: changesBetween(this.#wanted, wanted) };
  }

  /** From now on this is wanted. @throws KerbError BadManifest | StateUnavailable; then nothing has changed */
  apply(manifest: ManifestFile): Applied {
    return this.#take(manifest, parseManifest(manifest.text, manifest.file, this.#parts.offers));
  }

  /** Goes back to what this OBU has taken before, perhaps in an older version that asked less of values. */
  #goBack(manifest: ManifestFile): Applied {
    return this.#take(manifest, parseStoredManifest(manifest.text, manifest.file, this.#parts.offers));
  }

  #take({ file, text }: ManifestFile, workloads: readonly Workload[]): Applied {
    const wanted = workloads.map(desiredOf);
    const changes = changesBetween(this.#wanted, wanted);
    if (this.#current?.text === text) return { generation: this.#current.generation, file, changes };
    const { generation } = this.#write({ file, text });
    this.#wanted = wanted;
    this.#parts.report({ event: 'manifest-applied', generation, file });
    for (const follower of this.#followers) follower(wanted);
    return { generation, file, changes };
  }

  /**
   * Back to the newest other manifest that was good; with a workload, only this one as that manifest has it.
   * @throws KerbError NothingToRollBack | UnknownWorkload | BadManifest | StateUnavailable; then nothing has changed
   */
  rollback(workload?: string): Applied {
    const current = this.manifest();
    const goodOnes = this.#store.history().filter(({ good, generation }) => good && generation < current.generation);
    if (workload === undefined) {
      const back = goodOnes.find(({ text }) => text !== current.text);
      if (back === undefined) throw nothingToRollBack('no other manifest was good before it', current);
      return this.#goBack(back);
    }
    const now = this.#wanted.find((one) => one.workload.name === workload)?.workload;
    if (now === undefined) {
      const names = this.#wanted.map((one) => one.workload.name).join(', ');
      const message = `there is no workload "${workload}" in the manifest; ${names === '' ? 'it has no workloads' : `there are ${names}`}`;
      throw new KerbError(ErrorCode.UnknownWorkload, message, { workload });
    }
    for (const { file, text } of goodOnes) {
      const was = this.#workloadIn({ file, text }, workload);
      if (was === undefined || JSON.stringify(was) === JSON.stringify(now)) continue;
      return this.#goBack({ file: current.file, text: replaceService(current.text, workload, text) });
    }
    throw nothingToRollBack(`no good manifest before it has another workload "${workload}"`, current);
  }

  /** A workload as a kept manifest has it; undefined when that has none of the name, or cannot be read any more. */
  #workloadIn({ file, text }: ManifestFile, workload: string): Workload | undefined {
    try {
      return parseStoredManifest(text, file).find(({ name }) => name === workload);
    } catch (error) {
      if (!isKerbError(error, ErrorCode.BadManifest)) throw error;
      return undefined;
    }
  }

  /** @throws KerbError UnknownManifest when there is none, or no such generation is kept */
  manifest(generation?: number): Generation {
    const found = generation === undefined ? this.#current : this.#store.generation(generation);
    if (found !== undefined) return found;
    const message =
      generation === undefined
        ? 'no manifest has been applied to this OBU; give it one with kerb obu apply FILE'
        : `generation ${generation} of the manifest is not kept; there are ${
            this.#store
              .history()
              .map((one) => one.generation)
              .join(', ') || 'none'
          }`;
    throw new KerbError(ErrorCode.UnknownManifest, message, { generation });
  }

  history(): readonly Generation[] {
    return this.#store.history();
  }

  /** To be called every second or so: notes when the manifest has proved good. */
  watch(stateOf: (workload: string) => SeenState): void {
    if (this.#current === undefined || this.#current.good) return;
    if (!this.#wanted.every(({ workload }) => speaksForManifest(stateOf(workload.name)))) {
      this.#wellSinceMs = undefined;
      return;
    }
    this.#wellSinceMs ??= this.#steadyMs();
    if (this.#steadyMs() - this.#wellSinceMs < GOOD_AFTER_MS) return;
    const { generation } = this.#current;
    try {
      this.#store.markGood(generation);
      this.#current = { ...this.#current, good: true };
      this.#parts.log.info({ generation }, 'the manifest is good: rollback returns to it');
    } catch (error) {
      // A disk that is full is no reason to stop anything; it is tried again.
      this.#wellSinceMs = undefined;
      this.#parts.log.error({ generation, err: messageOf(error) }, 'cannot store that the manifest is good');
    }
  }

  #faultOf({ file, text }: ManifestFile): KerbError | undefined {
    try {
      parseManifest(text, file, this.#parts.offers);
      return undefined;
    } catch (error) {
      if (isKerbError(error)) return error;
      throw error;
    }
  }

  #openStore(mayBeginAnew: boolean): void {
    const { database, report } = this.#parts;
    try {
      this.#store.start();
    } catch (error) {
      if (!mayBeginAnew || !isKerbError(error, ErrorCode.StateDamaged)) throw error;
      const aside = putAside(database, this.#nowMs());
      const message = `the state of this OBU, ${database}, was damaged: it is kept as ${aside}, and the OBU starts again with the given manifest`;
      report({ event: 'state-damaged', code: error.code, reason: message });
      this.#store = new StateStore(database);
      this.#store.start();
    }
  }

  #write({ file, text }: ManifestFile): Generation {
    const current = this.#store.apply(file, text, this.#nowMs());
    const { generation } = current;
    this.#current = current;
    this.#wellSinceMs = undefined;
    this.#parts.log.info({ generation, file }, 'manifest applied');
    return current;
  }

  #parse(): readonly Desired[] {
    if (this.#current === undefined) return [];
    const { generation, file, text } = this.#current;
    try {
      return parseStoredManifest(text, file, this.#parts.offers).map(desiredOf);
    } catch (error) {
      if (!isKerbError(error)) throw error;
      const message = `generation ${generation} of the manifest does not fit this OBU any more: ${error.message}; start with --manifest FILE`;
      throw new KerbError(error.code, message, error.context, { cause: error });
    }
  }
}

function nothingToRollBack(why: string, { generation, file }: Generation): KerbError {
  const message = `there is nothing to go back to from generation ${generation} (${file}): ${why}`;
  return new KerbError(ErrorCode.NothingToRollBack, message, { generation });
}
