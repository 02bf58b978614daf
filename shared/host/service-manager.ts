/**
 * Notifies the systemd that started a daemon: ready, stopping, still alive (sd_notify(3), systemd.service(5)
 * `WatchdogSec=`). Without NOTIFY_SOCKET nobody listens, and nothing is done.
 *
 * Node has no datagram sockets in the Unix domain, so the words go through `systemd-notify`, which every system that
 * sets NOTIFY_SOCKET has. The unit needs `NotifyAccess=all`, because they come from a child.
 */
import { execFile } from 'node:child_process';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

export interface ServiceManagerOptions {
  /** Environment of this process; what systemd put there is taken out, so that no child (dockerd!) speaks for us. */
  readonly env: NodeJS.ProcessEnv;
  readonly pid: number;
  readonly log: Logger;
  /** Program that passes the words on. */
  readonly notifier?: string;
}

/** Longest that one message may take; the watchdog's time goes on meanwhile. */
const NOTIFY_TIMEOUT_MS = 5000;

export class ServiceManager {
  readonly #socket: string | undefined;
  readonly #watchdogMs: number;
  readonly #options: ServiceManagerOptions;
  #timer: NodeJS.Timeout | undefined;
  #isReported = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
    const { env, pid } = options;
    this.#socket = env.NOTIFY_SOCKET;
    const isForUs = env.WATCHDOG_PID === undefined || Number(env.WATCHDOG_PID) === pid;
    const watchdogUs = isForUs ? Number(env.WATCHDOG_USEC ?? 0) : 0;
    this.#watchdogMs = Number.isFinite(watchdogUs) && watchdogUs > 0 ? watchdogUs / 1000 : 0;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  }

  /**
   * The daemon serves. From now on the watchdog, if there is one, gets a sign of life twice in its time, for as long as
   * the event loop turns: what a daemon waits for (an engine, a bus) is reported by it and not mended by a restart.
   */
  async ready(status: string): Promise<void> {
    await this.#tell('READY=1', `STATUS=${oneLine(status)}`);
    if (this.#socket === undefined || this.#watchdogMs === 0) return;
    this.#timer = setInterval(() => void this.#tell('WATCHDOG=1'), this.#watchdogMs / 2);
    this.#timer.unref();
  }

  /** The daemon is asked to stop; signs of life end, and systemd waits for `TimeoutStopSec=`. */
  async stopping(): Promise<void> {
    clearInterval(this.#timer);
    await this.#tell('STOPPING=1', 'STATUS=stopping');
  }

  async #tell(...words: string[]): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    const { env, pid, log, notifier = 'systemd-notify' } = this.#options;
    const failure = await new Promise<unknown>((resolve) => {
      const options = { env: { ...env, NOTIFY_SOCKET: socket }, timeout: NOTIFY_TIMEOUT_MS };
      execFile(notifier, [`--pid=${pid}`, ...words], options, resolve);
    });
    if (!failure || this.#isReported) return;
    this.#isReported = true;
    log.warn({ err: messageOf(failure).split('\n')[0] }, 'cannot notify systemd');
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').slice(0, 200);
}
