import { spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { type BackOff, backOffMs } from '../../shared/base/back-off.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { pause } from '../../shared/base/pause.ts';
import type { StateLayout } from '../config/state-layout.ts';
import type { Report } from '../telemetry/report.ts';
import { type Engine, reachEngine } from './docker-client.ts';
import { cgroupOf, commandLine, isAlive, processesWith, signal, waitUntilGone } from './processes.ts';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
/** How often it is looked whether dockerd is still there. */
const WATCH_MS = 1000;
/** Between two tries to start it again; the first comes at once. */
const RETRY: BackOff = { firstMs: 1000, longestMs: 60_000 };
/** A dockerd that was up this long was well: its end begins a new row. */
const GOOD_RUN_MS = 60_000;

/**
 * A `dockerd` of our own, with everything it has in our state folder. It has no bridge and no firewall rules, because
 * workloads have no network, and it lives in a mount namespace of its own, so that the kernel takes back its mounts
 * when it is gone, however it went.
 *
 * It outlives an OBU that is killed; the next one finds it by its pid file and takes it over. When it dies by itself it
 * is started again, at the same socket.
 */
export class PrivateEngine {
  readonly #layout: StateLayout;
  readonly #log: Logger;
  readonly #report: Report;
  /** Called when it has ended by itself and all that it ran is gone, before it is started again. */
  onEnd: () => void = () => {};
  #isFresh = false;
  readonly #abort = new AbortController();
  #pid: number | undefined;
  #watching: Promise<void> | undefined;

  /** @param report is told when it ended by itself, and when it can't be started again */
  constructor(layout: StateLayout, log: Logger, report: Report = () => {}) {
    this.#layout = layout;
    this.#log = log;
    this.#report = report;
  }

  /** @throws KerbError EngineUnavailable when dockerd is missing, we are not root, or it does not come up */
  async start(): Promise<Engine> {
    const engine = await this.#startOrTakeOver();
    this.#watching = this.#watch();
    return engine;
  }

  /** True when it was started now, as opposed to taken over: what it ran before has ended with the one before it. */
  get isFresh(): boolean {
    return this.#isFresh;
  }

  async #startOrTakeOver(): Promise<Engine> {
    const { engine } = this.#layout;
    const dockerd = findDockerd();
    if (process.getuid?.() !== 0) {
      throw new KerbError(
        ErrorCode.EngineUnavailable,
        'no Docker Engine answers at the default socket, and a private one can only be started by root; ' +
          'run this as root, or start Docker and become a member of its group',
      );
    }
    const running = this.#running();
    if (running !== undefined) {
      this.#pid = running;
      this.#log.info({ pid: running }, 'taking over the private Docker Engine that an earlier run left');
      try {
        return await reachEngine('private', `unix://${engine.socket}`);
      } catch {
        this.#log.warn({ pid: running }, 'the private Docker Engine of an earlier run does not answer; replacing it');
        await this.#end();
      }
    }
    return this.#startFresh(dockerd);
  }

  async #startFresh(dockerd: string): Promise<Engine> {
    await this.#clearLeftovers();
    // Nobody listens at the first start. One that was taken over can end as well as one of ours.
    this.onEnd();
    this.#isFresh = true;
    this.#spawn(dockerd);
    return this.#untilReady();
  }

  /** Starts dockerd again when it is gone, until we are stopped. */
  async #watch(): Promise<void> {
    const { signal: stopped } = this.#abort;
    let failures = 0;
    let upSinceMs = performance.now();
    while (!stopped.aborted) {
      await pause(WATCH_MS, stopped);
      if (stopped.aborted || (this.#pid !== undefined && isAlive(this.#pid))) continue;
      if (performance.now() - upSinceMs >= GOOD_RUN_MS) failures = 0;
      const waitMs = backOffMs(failures++, RETRY);
      const when = waitMs === 0 ? 'now' : `in ${waitMs / 1000} s`;
      this.#reportFailure(`the private Docker Engine ended by itself: ${this.#lastWords()}; starting it again ${when}`);
      if (!(await pause(waitMs, stopped))) return;
      try {
        await this.#startFresh(findDockerd());
      } catch (error) {
        if (isKerbError(error, ErrorCode.Cancelled)) return;
        this.#reportFailure(`the private Docker Engine could not be started again: ${messageOf(error)}`);
      }
      upSinceMs = performance.now();
    }
  }

  #reportFailure(message: string): void {
    this.#log.error({ code: ErrorCode.EngineUnavailable, reason: message }, 'the private Docker Engine failed');
    this.#report({ event: 'engine-fault', reason: message });
  }

  /**
   * Stops dockerd and everything below it. Safe to call twice and during `start()`.
   * @param hurry When it fires, it is killed.
   */
  async stop(hurry?: AbortSignal): Promise<void> {
    this.#abort.abort();
    await this.#watching;
    await this.#end(hurry);
  }

  async #end(hurry?: AbortSignal): Promise<void> {
    const pid = this.#pid;
    this.#pid = undefined;
    if (pid === undefined) return;
    const kill = () => signal(pid, 'SIGKILL');
    signal(pid, 'SIGTERM');
    hurry?.addEventListener('abort', kill, { once: true });
    if (hurry?.aborted) kill();
    if (!(await waitUntilGone([pid], STOP_TIMEOUT_MS))) {
      this.#log.warn({ pid }, 'the private Docker Engine did not stop in time; killing it');
      kill();
      await waitUntilGone([pid], STOP_TIMEOUT_MS);
    }
    hurry?.removeEventListener('abort', kill);
    await this.#clearLeftovers();
  }

  /** Pid of a dockerd of an earlier run on the same folders. */
  #running(): number | undefined {
    const { pidFile, socket } = this.#layout.engine;
    let pid: number;
    try {
      pid = Number(readFileSync(pidFile, 'utf8'));
    } catch {
      return undefined;
    }
    // Process ids are used again: the command line says whether it is ours.
    return pid > 0 && isAlive(pid) && commandLine(pid).includes(socket) ? pid : undefined;
  }

  #spawn(dockerd: string): void {
    const { engine } = this.#layout;
    mkdirSync(engine.execRoot, { recursive: true, mode: 0o700 });
    mkdirSync(engine.dataRoot, { recursive: true, mode: 0o710 });
    // A file of our own, so that the machine's /etc/docker/daemon.json has no say.
    writeFileSync(engine.configFile, '{}\n');
    const args = [
      ...['--mount', '--propagation', 'slave', '--', dockerd],
      ...['--config-file', engine.configFile, '--data-root', engine.dataRoot, '--exec-root', engine.execRoot],
      ...['--host', `unix://${engine.socket}`, '--pidfile', engine.pidFile, '--group', 'root'],
      ...['--bridge=none', '--iptables=false', '--ip-forward=false', '--ip-masq=false', '--userland-proxy=false'],
      ...['--log-level', 'warn'],
    ];
    this.#log.info({ path: engine.dataRoot }, 'starting a private Docker Engine');
    const log = openSync(engine.log, 'w', 0o600);
    try {
      // A session of its own: a Ctrl-C in the terminal is for us, and we stop it after its containers.
      const child = spawn('unshare', args, { stdio: ['ignore', log, log], detached: true });
      child.on('error', () => {}); // no pid then, which #untilReady reports
      child.unref();
      this.#pid = child.pid;
    } finally {
      closeSync(log);
    }
  }

  async #untilReady(): Promise<Engine> {
    const { engine } = this.#layout;
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      if (!(await pause(100, this.#abort.signal))) throw new KerbError(ErrorCode.Cancelled, 'stopped');
      const pid = this.#pid;
      if (pid === undefined || !isAlive(pid)) {
        throw new KerbError(ErrorCode.EngineUnavailable, `the private Docker Engine ended: ${this.#lastWords()}`);
      }
      try {
        return await reachEngine('private', `unix://${engine.socket}`);
      } catch (error) {
        if (performance.now() < deadline) continue;
        const seconds = START_TIMEOUT_MS / 1000;
        const message = `the private Docker Engine is not ready after ${seconds} s: ${this.#lastWords()}`;
        throw new KerbError(ErrorCode.EngineUnavailable, message, {}, { cause: error });
      }
    }
  }

  #lastWords(): string {
    const { log } = this.#layout.engine;
    let lines: string[] = [];
    try {
      lines = readFileSync(log, 'utf8').trim().split('\n');
    } catch {
      // no log, no words
    }
    // Its normal output does not explain why it ended.
    const fatal = lines.findLast((line) => !/level=(debug|info|warning)/.test(line)) ?? '';
    return `${fatal.slice(0, 400) || 'it said nothing'} (its log is ${log})`;
  }

  /** Removes the remains of a dockerd that was killed: its containerd, shims and containers, and its runtime files. */
  async #clearLeftovers(): Promise<void> {
    const { execRoot, socket, pidFile, configFile } = this.#layout.engine;
    const containers = containerProcesses(execRoot);
    for (const pid of containers) signal(pid, 'SIGKILL');
    // containerd and the shims carry the path of our exec root in their command lines, and nobody else does.
    const helpers = processesWith(`${execRoot}/`).filter((pid) => /containerd/.test(commandLine(pid)));
    for (const pid of helpers) signal(pid, 'SIGTERM');
    if (!(await waitUntilGone(helpers, 5000))) for (const pid of helpers) signal(pid, 'SIGKILL');
    await waitUntilGone([...containers, ...helpers], 5000);
    for (const path of [execRoot, socket, pidFile, configFile]) rmSync(path, { recursive: true, force: true });
  }
}

/** First processes of the containers under this exec root. */
function containerProcesses(execRoot: string): number[] {
  const tasks = join(execRoot, 'containerd/daemon/io.containerd.runtime.v2.task/moby');
  let ids: string[];
  try {
    ids = readdirSync(tasks);
  } catch {
    return [];
  }
  return ids.flatMap((id) => {
    try {
      const pid = Number(readFileSync(join(tasks, id, 'init.pid'), 'utf8'));
      return pid > 0 && isAlive(pid) && cgroupOf(pid).includes(id) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

function findDockerd(): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/sbin'];
  for (const folder of folders.filter(Boolean)) {
    const file = join(folder, 'dockerd');
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // not in this one
    }
  }
  throw new KerbError(
    ErrorCode.EngineUnavailable,
    'no Docker Engine answers at the default socket, and dockerd is not installed to start a private one; ' +
      'on Debian: apt-get install docker.io',
  );
}
