import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import { daemonsOf, isOfSupervisor, SOURCE_FOLDERS } from './restarts.ts';

/** An editor writes a file in several steps, and a person saves several files: what comes within this time is one change. */
const QUIET_MS = 300;

export interface SourceWatchOptions {
  /** Folder of the installation. */
  readonly root: string;
  /** Stops these daemons and starts them again. */
  readonly restart: (names: ReadonlySet<string>) => Promise<void>;
  /** What is being done, for a person; empty afterwards. */
  readonly say: (message: string) => void;
}

/** Has the daemons of the main job started again when their sources change. */
export class SourceWatch {
  readonly #options: SourceWatchOptions;
  readonly #watchers: FSWatcher[] = [];
  readonly #restarts = new SerialQueue();
  readonly #changed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SourceWatchOptions) {
    this.#options = options;
  }

  /** A folder that cannot be watched is told of. */
  start(): void {
    for (const folder of SOURCE_FOLDERS) {
      const watcher = watch(join(this.#options.root, folder), { recursive: true }, (_event, name) => {
        if (name !== null) this.#note(`${folder}/${name}`);
      });
      watcher.on('error', (error) => this.#options.say(`${folder}/ is watched no longer: ${error.message}`));
      this.#watchers.push(watcher);
    }
  }

  /** Resolves when no restart is under way any more. */
  async stop(): Promise<void> {
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    clearTimeout(this.#timer);
    this.#changed.clear();
    await this.#restarts.idle();
  }

  #note(path: string): void {
    if (daemonsOf(path).length === 0 && !isOfSupervisor(path)) return;
    this.#changed.add(path);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // What changes while it waits for its turn belongs to it as well.
      void this.#restarts.run(() => this.#takeChanges());
    }, QUIET_MS);
  }

  async #takeChanges(): Promise<void> {
    const paths = [...this.#changed];
    this.#changed.clear();
    if (paths.length === 0) return;
    const { restart, say } = this.#options;
    const names = new Set(paths.flatMap(daemonsOf));
    const what = paths.length === 1 ? paths[0] : `${paths[0]} and ${paths.length - 1} more`;
    if (paths.some(isOfSupervisor))
      say(`changed: ${what}; of npm run dev itself, which has to be started again for that`);
    if (names.size > 0) {
      say(`changed: ${what}; starting again: ${[...names].join(', ')}`);
      await restart(names);
    }
    say('');
  }
}
