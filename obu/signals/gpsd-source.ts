/**
 * Position, heading and speed of gpsd as one more source of signals, named "gpsd". It is the last of a path's sources
 * unless `signals.sources` ranks it. It connects anew whenever gpsd is gone, with a growing wait.
 */
import { connect, type Socket } from 'node:net';
import type { GpsdStatus } from '../../shared/api/status.ts';
import { backOffMs } from '../../shared/base/back-off.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { SignalProvider, VehicleSignals } from '../../shared/vss/signal.ts';
import { valueFault } from '../../shared/vss/signal-list.ts';
import { type GpsdReport, gpsdPaths, readGpsdLine } from './gpsd-report.ts';

export const GPSD_SOURCE = 'gpsd';

/** gpsd's own lines are of at most 10,240 bytes. */
const MAX_LINE = 16_384;
/** A receiver of 25 Hz sends a tenth of this with all its satellites. */
const MAX_BYTES_PER_SECOND = 1_000_000;
const BACK_OFF = { firstMs: 500, longestMs: 30_000 };

export interface GpsdConfig {
  readonly host: string;
  readonly port: number;
  /** As gpsd names it; undefined: the first that has a fix, until it has none. */
  readonly device: string | undefined;
  /** Without a fix for this long, the last one is stale. */
  readonly staleMs: number;
}

export interface GpsdParts {
  readonly config: GpsdConfig;
  readonly signals: Pick<VehicleSignals, 'info' | 'openProvider'>;
  readonly log: Logger;
}

export class GpsdSource {
  readonly #parts: GpsdParts;
  readonly #address: string;
  /** Each path's own, so that one that the receiver no longer knows turns stale alone; with when it was last known. */
  readonly #providers = new Map<string, { readonly provider: SignalProvider; seenMs: number }>();
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  #failures = 0;
  #isConnected = false;
  /** The device whose fixes count now. */
  #device: string | undefined;
  #fixMs = 0;
  #reason = 'it is not connected yet';
  #fixes = 0;
  #invalid = 0;

  constructor(parts: GpsdParts) {
    this.#parts = parts;
    this.#address = `${parts.config.host}:${parts.config.port}`;
  }

  get status(): GpsdStatus {
    const down = this.#isConnected ? 'NoFix' : 'Disconnected';
    return {
      address: this.#address,
      state: this.#reason === '' ? 'Fix' : down,
      reason: this.#reason,
      fixes: this.#fixes,
      invalid: this.#invalid,
    };
  }

  /** Why gpsd does not give a path, in a sentence; empty: it is not one of its paths. */
  whyNone(path: string): string {
    if (!gpsdPaths.includes(path)) return '';
    return `gpsd at ${this.#address}: ${this.#reason || 'its receiver does not know it'}`;
  }

  /** Does not wait for gpsd: a car starts without a position. */
  start(): void {
    const { staleMs } = this.#parts.config;
    this.#look = setInterval(() => this.#lookForStale(), Math.max(10, Math.min(1000, staleMs / 4)));
    this.#look.unref();
    this.#connect();
  }

  stop(): void {
    clearInterval(this.#look);
    clearTimeout(this.#retry);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#isConnected = false;
    socket?.destroy();
    this.#lose('it is not connected');
  }

  #connect(): void {
    const { host, port, device } = this.#parts.config;
    const socket = connect({ host, port });
    this.#socket = socket;
    let fault = 'it closed the connection';
    const take = this.#taker((reason) => {
      fault = reason;
      socket.destroy();
    });
    socket.on('connect', () => {
      this.#isConnected = true;
      this.#reason = 'it has sent no position yet';
      socket.write(`?WATCH=${JSON.stringify({ enable: true, json: true, ...(device && { device }) })};\n`);
    });
    socket.on('data', take);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      fault = error.code === undefined ? error.message : `it is out of reach (${error.code})`;
    });
    socket.setTimeout(BACK_OFF.longestMs, () => {
      fault = `it sent nothing for ${BACK_OFF.longestMs / 1000} s`;
      socket.destroy();
    });
    socket.on('close', () => {
      if (this.#socket === socket) this.#reconnectLater(fault);
    });
  }

  #reconnectLater(reason: string): void {
    this.#socket = undefined;
    this.#isConnected = false;
    this.#failures++;
    if (this.#failures === 1) this.#parts.log.warn({ reason: `${this.#address}: ${reason}` }, 'gpsd disconnected');
    this.#lose(reason);
    this.#retry = setTimeout(() => this.#connect(), backOffMs(this.#failures, BACK_OFF));
    this.#retry.unref();
  }

  /** Reads the pieces of a connection. It holds at most one line, and gives up on who sends too much. */
  #taker(giveUp: (reason: string) => void): (piece: Buffer) => void {
    let rest = Buffer.alloc(0);
    let [second, bytes] = [0, 0];
    let isOver = false;
    const end = (reason: string) => {
      isOver = true;
      this.#invalid++;
      giveUp(reason);
    };
    return (piece) => {
      if (isOver) return;
      const now = Math.floor(performance.now() / 1000);
      bytes = now === second ? bytes + piece.length : piece.length;
      second = now;
      if (bytes > MAX_BYTES_PER_SECOND) return end('it sent more than 1 MB in a second');
      const all = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      let from = 0;
      for (let to = all.indexOf(10); to >= 0; to = all.indexOf(10, from)) {
        const line = all.toString('utf8', from, to).trim();
        from = to + 1;
        if (line !== '') this.#take(readGpsdLine(line));
      }
      rest = Buffer.from(all.subarray(from));
      if (rest.length > MAX_LINE) end(`it sent a line of more than ${MAX_LINE} bytes`);
    };
  }

  #take(report: GpsdReport): void {
    if (report.kind === 'other') return;
    if (report.kind === 'bad') {
      this.#invalid++;
      // The fix that there is goes stale by itself when no good one follows.
      if (this.#reason !== '') this.#reason = report.reason;
      return;
    }
    const { device } = this.#parts.config;
    if (device !== undefined && report.device !== device) return;
    if (report.kind === 'none') {
      if (this.#device === undefined || this.#device === report.device) this.#lose(report.reason);
      return;
    }
    // Of two receivers only one counts at a time: a position must not jump between them.
    if (this.#device !== undefined && this.#device !== report.device) return;
    this.#device = report.device;
    this.#failures = 0;
    this.#fixes++;
    this.#reason = '';
    this.#fixMs = performance.now();
    this.#provide(report.values);
  }

  #provide(values: (GpsdReport & { kind: 'fix' })['values']): void {
    for (const [path, value] of values) {
      const info = this.#parts.signals.info(path);
      // A mapping may describe the path in a way that this value does not fit.
      if (info === undefined || valueFault(info, value) !== undefined) continue;
      const known = this.#providers.get(path) ?? { provider: this.#parts.signals.openProvider(GPSD_SOURCE), seenMs: 0 };
      this.#providers.set(path, known);
      known.seenMs = this.#fixMs;
      // With this machine's time: a receiver's may jump by weeks. Its own is in `Timestamp`.
      known.provider.provide([{ path, value }]);
    }
  }

  #lookForStale(): void {
    const { staleMs } = this.#parts.config;
    const nowMs = performance.now();
    if (this.#reason === '' && nowMs - this.#fixMs > staleMs) this.#lose(`it sent no fix for ${staleMs / 1000} s`);
    for (const { provider, seenMs } of this.#providers.values()) if (nowMs - seenMs > staleMs) provider.close();
  }

  /** All values of gpsd are stale from now on. */
  #lose(reason: string): void {
    this.#reason = reason;
    this.#device = undefined;
    for (const { provider } of this.#providers.values()) provider.close();
  }
}
