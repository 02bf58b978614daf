import { setTimeout as sleep } from 'node:timers/promises';

/** Between two looks: short at first, longer for what takes its time, which is on its way with what a look would take. */
const [FIRST_MS, LONGEST_MS, GROWTH] = [20, 150, 1.15];

/** Below the limit of a system test, whose message would not say what it waited for. */
const LIMIT_MS = 100_000;

/**
 * Waits for a fact, and says what there was instead when it does not come about.
 *
 * @param what - What is waited for: "high is Running(Ok)".
 * @param look - Looks once; undefined or false is "not yet".
 * @param now - What there is, for the message.
 * @returns what `look` has found
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  now: () => unknown = () => '',
  limitMs = LIMIT_MS,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (let waitMs = FIRST_MS; ; waitMs = Math.min(LONGEST_MS, waitMs * GROWTH)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) {
      throw new Error(`waited ${limitMs / 1000} s in vain for: ${what}; there is ${JSON.stringify(now())}`);
    }
    await sleep(waitMs);
  }
}
