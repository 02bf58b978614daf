/** Says on standard error how far a job is, from the first second on: once a second on a terminal, every ten elsewhere. */
export class Progress {
  readonly #terminal = process.stderr.isTTY === true;
  #next = performance.now() + 1000;
  #shown = false;

  /** @param line made only when it is shown */
  show(line: () => string): void {
    const now = performance.now();
    if (now < this.#next) return;
    this.#next = now + (this.#terminal ? 1000 : 10_000);
    this.#shown = true;
    process.stderr.write(this.#terminal ? `\r${line()}\u001b[K` : `${line()}\n`);
  }

  end(): void {
    if (this.#shown && this.#terminal) process.stderr.write('\n');
    this.#shown = false;
  }
}
