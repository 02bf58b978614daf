import pino, { type Logger } from 'pino';

export type { Logger } from 'pino';

/**
 * The log of one daemon: JSON lines on standard error with the keys `time` (ISO), `level`, `room`, `msg`, so that
 * standard output stays free for what a command answers. `KERB_LOG` sets the level (default `info`).
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
