import type { Desired, WorkloadRecord } from '../../planner/state.ts';

/** Looks at the images of a manifest: one at a time, and none that has begun before it was asked for counts. */
export class ImageLooks {
  readonly #look: () => Promise<void>;
  #asked = 0;
  #done = 0;
  #needed = 0;
  #running: Promise<void> | undefined;

  constructor(look: () => Promise<void>) {
    this.#look = look;
  }

  /** Until the next look is done, what is known of images is not what the manifest needs. */
  need(): void {
    this.#needed = this.#asked + 1;
  }

  get isKnown(): boolean {
    return this.#done >= this.#needed;
  }

  /** Returns when a look is done that began after this call. @throws errors of dockerode */
  ask(): Promise<void> {
    this.#asked++;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#done < this.#asked) {
        const asked = this.#asked;
        await this.#look();
        this.#done = asked;
      }
    } finally {
      // In one go with the last comparison: who asks from here on has a look of its own, and never one that has ended.
      this.#running = undefined;
    }
  }
}

/** Names and ids of the images that may be needed to run these, or to go back to what they were. */
export function imagesOf(desired: readonly Desired[], memoryOf: (workload: string) => WorkloadRecord): string[] {
  return desired.flatMap(({ workload }) => {
    const known = memoryOf(workload.name);
    const ids = [known.version?.imageId, known.good?.imageId].filter((id) => id !== undefined);
    return [workload.image, ...ids];
  });
}
