/**
 * `vi.waitFor` and `vi.waitUntil` give up after a second, which a busy machine needs for nothing at all. They wait for a
 * fact: how long that takes is not what a test says. So each waits at least this long, whatever it was asked for, and still
 * ends before the test's own limit, whose message says less.
 */
import { vi } from 'vitest';

const LEAST_MS = 45_000;

type Options = Parameters<typeof vi.waitFor>[1];

const { waitFor, waitUntil } = vi;

function patient(options: Options): { timeout: number; interval?: number } {
  const given = typeof options === 'number' ? { timeout: options } : (options ?? {});
  return { ...given, timeout: Math.max(given.timeout ?? 0, LEAST_MS) };
}

vi.waitFor = (callback, options) => waitFor(callback, patient(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));
