import { existsSync, globSync, renameSync, writeFileSync } from 'node:fs';

/** Debian's libfaketime; undefined where it is not installed. */
export function faketimeLibrary(): string | undefined {
  return globSync('/usr/lib/*/faketime/libfaketimeMT.so.1').find((path) => existsSync(path));
}

/**
 * A wall clock that a test can set while programs run on it: libfaketime reads the offset from a file at every call. The
 * monotonic clock stays as it is, as it does when a real clock is set.
 */
export class FakeClock {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
    this.set(0);
  }

  /** @param seconds added to the real time */
  set(seconds: number): void {
    // Read at any moment: never half of it.
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** For the environment of a program. @param library see `faketimeLibrary` */
  environment(library: string): Record<string, string> {
    return {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    };
  }
}
