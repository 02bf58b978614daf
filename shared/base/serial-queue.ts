/** Runs one task at a time, in the order of the calls. One that fails does not keep the next from running. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();
  #size = 0;

  /** How many tasks run or wait. Nothing limits them here: whoever takes tasks from outside refuses what is too many. */
  get size(): number {
    return this.#size;
  }

  /** @returns what the task gives. @throws what the task throws */
  run<T>(task: () => Promise<T>): Promise<T> {
    this.#size++;
    const result = this.#last.then(task).finally(() => this.#size--);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Resolves when all tasks that are in it now are done. Never rejects. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
