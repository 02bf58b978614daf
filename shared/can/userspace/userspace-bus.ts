/**
 * A program's end of the userspace bus (see userspace-protocol.ts). Hot path: frames to send are batched until the end
 * of the current tick and leave in one write; frames that come in are cut out of the chunk in one loop.
 */
import { createConnection, type Socket } from 'node:net';
import { type BackOff, backOffMs } from '../../base/back-off.ts';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { BusCore } from '../bus-core.ts';
import { CoreBus } from '../core-bus.ts';
import type { CanFrame } from '../frame.ts';
import {
  decodeFrame,
  droppedTotal,
  encodeFrame,
  encodeHello,
  RECORD_SIZE,
  RecordCutter,
  RecordType,
  recordFault,
  recordType,
} from './userspace-protocol.ts';

/** Frames of one batch; a full one leaves at once. */
const BATCH_FRAMES = 512;
/** Limit of unsent bytes for a bus that does not read. Then sending fails, as it does with a full transmit queue. */
const MAX_UNSENT_BYTES = 8192 * RECORD_SIZE;
const HELLO_MS = 5000;
const RETRY: BackOff = { firstMs: 100, longestMs: 2000 };

export interface UserspaceBusOptions {
  /** Name of the bus for this program, `can0`. */
  readonly name: string;
  readonly socketPath: string;
  /** Name of this program, for the log of the bus. */
  readonly client: string;
  readonly log: Logger;
  /** Of the bus that this one works for; default: one of its own. */
  readonly core?: BusCore | undefined;
}

export class UserspaceBus extends CoreBus {
  readonly kind = 'userspace';
  readonly #options: UserspaceBusOptions;
  #running = false;
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Since it greeted us last. */
  #retries = 0;
  #batch: Buffer = Buffer.allocUnsafe(0);
  #batched = 0;

  constructor(options: UserspaceBusOptions) {
    super(options.core);
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** @throws KerbError BusUnavailable when no bus is served at the path; once started it reconnects by itself */
  async start(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#connect();
    } catch (error) {
      this.#running = false;
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#retry);
    const socket = this.#socket;
    if (socket !== undefined) {
      this.#flush();
      this.#socket = undefined;
      // Frames that were sent before stop() still reach the bus, unless the bus does not read.
      await new Promise<void>((resolve) => {
        const giveUp = setTimeout(() => socket.destroy(), 1000);
        socket.once('close', () => {
          clearTimeout(giveUp);
          resolve();
        });
        if (socket.connecting) socket.destroy();
        else socket.end(() => socket.destroy());
      });
    }
    this.core.down('stopped');
  }

  send(frame: CanFrame): void {
    this.core.mustBeSendable(frame, this.name);
    if (this.#socket!.writableLength > MAX_UNSENT_BYTES) {
      throw new KerbError(
        ErrorCode.BusWriteFailed,
        `${this.name}: the bus does not take frames; send fewer, or later`,
        {
          bus: this.name,
        },
      );
    }
    if (this.#batched === 0) {
      if (this.#batch.length === 0) this.#batch = Buffer.allocUnsafe(BATCH_FRAMES * RECORD_SIZE);
      process.nextTick(() => this.#flush());
    }
    encodeFrame(frame, this.#batch, this.#batched * RECORD_SIZE);
    this.core.countSent(frame);
    if (++this.#batched === this.#batch.length / RECORD_SIZE) this.#flush();
  }

  #flush(): void {
    const bytes = this.#batched * RECORD_SIZE;
    if (bytes === 0) return;
    const frames = this.#batched;
    const batch = this.#batch.subarray(0, bytes);
    // The rest of the buffer serves the next batches; a new one is made when little is left.
    const rest = this.#batch.subarray(bytes);
    this.#batch = rest.length < 16 * RECORD_SIZE ? Buffer.allocUnsafe(0) : rest;
    this.#batched = 0;
    if (this.#socket === undefined) this.#notSent(frames);
    else this.#socket.write(batch, (error) => error && this.#notSent(frames));
  }

  /** They were taken when the connection still looked well. */
  #notSent(frames: number): void {
    this.core.countDropped(frames);
    this.#options.log.warn({ bus: this.name, lost: frames }, 'frames not sent: the bus disconnected');
  }

  /** One connection: resolves once the bus has said hello. */
  #connect(): Promise<void> {
    const { socketPath, client, name } = this.#options;
    return new Promise<void>((resolve, reject) => {
      const socket = createConnection(socketPath);
      this.#socket = socket;
      this.#batched = 0;
      const cutter = new RecordCutter();
      let greeted = false;
      let toldDropped = 0;
      let why = 'the bus disconnected';
      const timeout = setTimeout(() => {
        why = 'no bus answers at this socket';
        socket.destroy();
      }, HELLO_MS);
      socket.on('connect', () => socket.write(encodeHello(client)));
      socket.on('error', (error) => {
        why =
          isErrno(error, 'ENOENT') || isErrno(error, 'ECONNREFUSED')
            ? 'no bus is served at this socket'
            : messageOf(error);
      });
      socket.on('close', () => {
        clearTimeout(timeout);
        if (this.#socket === socket) this.#socket = undefined;
        const reason = `${why} (${socketPath})`;
        if (greeted) this.#lost(reason);
        else if (this.#running) reject(this.#unavailable(reason));
        else reject(new KerbError(ErrorCode.Cancelled, `stopped while joining CAN bus ${name}`));
      });
      socket.on('data', (chunk) => {
        const records = cutter.push(chunk);
        for (let at = 0; at < records.length && this.#socket === socket; at += RECORD_SIZE) {
          const fault = recordFault(records, at);
          const type = recordType(records, at);
          if (fault !== undefined || (type === RecordType.Hello) === greeted) {
            why = `what answers is not a Kerbside CAN bus: ${fault ?? 'it greets at the wrong time'}`;
            socket.destroy();
            return;
          }
          if (type === RecordType.Frame) {
            this.core.deliver(decodeFrame(records, at));
          } else if (type === RecordType.Dropped) {
            const total = droppedTotal(records, at);
            const lost = total - toldDropped;
            toldDropped = total;
            if (Number.isSafeInteger(lost) && lost > 0) {
              this.core.countDropped(lost);
              this.#options.log.warn({ bus: name, lost }, 'frames lost: this program reads too slowly');
            }
          } else {
            greeted = true;
            clearTimeout(timeout);
            this.#retries = 0;
            this.core.up();
            resolve();
          }
        }
      });
    });
  }

  #lost(reason: string): void {
    this.core.down(this.#running ? reason : 'stopped');
    if (!this.#running) return;
    this.#options.log.warn({ bus: this.name, reason }, 'the bus is down; trying again');
    this.#scheduleRetry();
  }

  #scheduleRetry(): void {
    this.#retries++;
    this.#retry = setTimeout(
      () => {
        this.#connect().then(
          () => this.#options.log.info({ bus: this.name }, 'attached to the bus again'),
          (error: unknown) => {
            if (!this.#running) return;
            this.core.down(messageOf(error));
            this.#scheduleRetry();
          },
        );
      },
      backOffMs(this.#retries, RETRY),
    );
  }

  #unavailable(reason: string): KerbError {
    return new KerbError(
      ErrorCode.BusUnavailable,
      `cannot join CAN bus ${this.name}: ${reason}; start one with: kerb can bus --socket ${this.#options.socketPath}`,
      { bus: this.name, socketPath: this.#options.socketPath },
    );
  }
}
