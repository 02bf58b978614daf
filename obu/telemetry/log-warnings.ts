import type { Logger } from '../../shared/base/log.ts';

const MAX_LOGGED_WARNINGS = 20;

/** Logs what is wrong in the files of signals, and has not kept the rest of them from working. */
export function logSignalWarnings(warnings: readonly string[], log: Logger): void {
  for (const reason of warnings.slice(0, MAX_LOGGED_WARNINGS)) log.warn({ reason }, 'a file of signals has a problem');
  if (warnings.length > MAX_LOGGED_WARNINGS) {
    log.warn({ count: warnings.length }, 'the files of signals have more problems; kerb status lists them');
  }
}
