import pino from 'pino';

/**
 * The keys of log lines. Every line has `time` (ISO 8601, UTC), `level`, `room` and `msg`; the others say what it is
 * about, and are never given a second meaning. A line with another key does not compile.
 */
export const LOG_KEYS = [
  // Every line.
  ...(['time', 'level', 'room', 'msg'] as const),
  // Which part of the daemon writes, and what it speaks of.
  ...(['part', 'workload', 'bus', 'camera', 'broker', 'vehicle', 'tenant', 'task', 'digest', 'client', 'pid'] as const),
  // What about it: its state, why, the step that is done, the generation of the manifest, the number of a request.
  ...(['state', 'reason', 'step', 'generation', 'request', 'signal', 'version'] as const),
  // What went wrong: the number of the error (shared/base/errors.ts) and its sentence, or the error with its stack.
  ...(['code', 'err'] as const),
  // Where: a path, a manifest or other file that a person gave, an address.
  ...(['path', 'file', 'url'] as const),
  // How many of what the sentence says, how many were lost, how many milliseconds it waits.
  ...(['count', 'lost', 'waitMs'] as const),
] as const;

type LogKey = (typeof LOG_KEYS)[number];
type LogFields = { readonly [Key in LogKey]?: unknown };

interface LogLine {
  (fields: LogFields, message?: string): void;
  (message: string): void;
}

/** Writes log lines. */
export interface Logger {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
  /** One whose lines all have these fields. */
  child(fields: LogFields): Logger;
}

/**
 * The log of one daemon: JSON lines on standard error, so that standard output stays free for what a command answers.
 * `KERB_LOG` sets the level (default `info`).
 */
export function createLog(
  room: string,
  destination: pino.DestinationStream = pino.destination({ fd: 2, sync: true }),
): Logger {
  return pino(
    {
      level: process.env.KERB_LOG ?? 'info',
      base: { room },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** A log that keeps nothing, for tests and libraries. */
export function silentLog(): Logger {
  return pino({ level: 'silent' });
}
