import { ErrorCode, KerbError } from '../base/errors.ts';

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * A duration as people and Compose files write it ("500ms", "30s", "1m30s", "2h"), in milliseconds.
 * @throws KerbError BadDuration
 */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text) {
    throw new KerbError(
      ErrorCode.BadDuration,
      `'${text}' is not a valid duration: it must be like 500ms, 30s or 1m30s`,
      { text },
    );
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * unitMs[unit!]!, 0);
}

/** Seconds as a clock: 75 → "1:15", 4000 → "1:06:40". */
export function formatClock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const h = Math.floor(seconds / 3600);
  const m = Math.floor(seconds / 60) % 60;
  return h > 0 ? `${h}:${two(m)}:${two(seconds % 60)}` : `${m}:${two(seconds % 60)}`;
}
