/** Parts that the commands of `kerb can` share: opening buses for one piece of work, being stopped, sending. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, isKerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import { openBus, parseBusSpec } from '../../shared/can/open-bus.ts';

export const BUS_HELP = 'can0, socketcan:can0, userspace:can0 or userspace:can0@/path/to.sock';

/** How long a bus may refuse a frame because it is busy, in milliseconds. */
const BUSY_MS = 2000;

/** Aborted by SIGINT and SIGTERM; `release` gives the signals back. */
export function untilStopped(): { readonly signal: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', abort);
      process.off('SIGTERM', abort);
    },
  };
}

export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/**
 * Starts the buses, does the work, stops the buses; says on standard error which buses they are.
 * @throws KerbError BadConfig | BusUnavailable, and what the work throws
 */
export async function withBuses(
  specs: readonly string[],
  work: (buses: readonly CanBus[], signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const options = { log: createLog('can'), client: `kerb can ${process.pid}` };
  const opened = specs.map((spec) => openBus(parseBusSpec(spec), options));
  const buses = opened.map(({ bus }) => bus);
  const stop = untilStopped();
  try {
    for (const { bus, reason } of opened) {
      await bus.start();
      process.stderr.write(`${reason}\n`);
    }
    await work(buses, stop.signal);
  } finally {
    await Promise.all(buses.map((bus) => bus.stop()));
    stop.release();
  }
}

/** A bus that is busy takes the frame a little later; only after two seconds is that an error. */
export async function sendWithRetry(bus: CanBus, frame: CanFrame): Promise<void> {
  const giveUp = performance.now() + BUSY_MS;
  for (;;) {
    try {
      bus.send(frame);
      return;
    } catch (error) {
      if (!isKerbError(error, ErrorCode.BusWriteFailed) || performance.now() > giveUp) throw error;
      await sleep(5);
    }
  }
}
