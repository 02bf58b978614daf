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
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#done < this.#asked) {
      const asked = this.#asked;
      await this.#look();
      this.#done = asked;
    }
  }
}
