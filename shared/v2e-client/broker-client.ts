import { Agent } from 'node:https';
import { io, type Socket } from 'socket.io-client';
import { ErrorCode, errorName, KerbError, messageOf } from '../base/errors.ts';
import { refusalFrom } from '../base/refusal.ts';
import type { Identity } from '../identity/identity.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { v2eClientOptions } from '../protocol/v2e-socket.ts';
import { PUSH_CHUNK, type PushOutcome } from '../task-package/push-codec.ts';
import type { PackageFile } from '../task-package/reader.ts';
import { decodeAnnouncement, type TaskOffer } from './announcement.ts';

const { PushRequest, PushReply, PushState } = kerbside.v2e;

const CONNECT_TIMEOUT_MS = 5000;
/** The broker verifies and stores a whole package before it acknowledges the last piece. */
const REPLY_TIMEOUT_MS = 30_000;
/** Pieces under way: enough to fill a long way, little enough for a slow one to let the keep-alive through. */
const WINDOW = 4;

export interface BrokerClientOptions {
  /** "https://host:port" */
  readonly url: string;
  readonly identity: Identity;
  /** As in its certificate; undefined: any broker of the authority. */
  readonly brokerId: string | undefined;
  readonly signal?: AbortSignal;
}

type Step = Parameters<typeof PushRequest.encode>[0];

/** One connection to a broker, for the verbs of `kerb task` that speak with one. */
export class BrokerClient {
  readonly #options: BrokerClientOptions;
  readonly #lost = new AbortController();
  #agent: Agent | undefined;
  #socket: Socket | undefined;
  #broker = '';
  #offers: readonly TaskOffer[] = [];

  constructor(options: BrokerClientOptions) {
    this.#options = options;
  }

  /** As in its announcement; empty before it is connected. */
  get broker(): string {
    return this.#broker;
  }

  get offers(): readonly TaskOffer[] {
    return this.#offers;
  }

  /** @throws KerbError NoBroker; Cancelled */
  async connect(): Promise<void> {
    const { url, identity, brokerId } = this.#options;
    this.#agent = new Agent({ ...identity.clientOptions(brokerId), maxCachedSessions: 0 });
    const socket = io(url, {
      ...v2eClientOptions(this.#agent),
      reconnection: false,
      timeout: CONNECT_TIMEOUT_MS,
    });
    this.#socket = socket;
    await this.#unlessLost(
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(noBroker(url, 'it does not announce itself')), CONNECT_TIMEOUT_MS);
        socket.once('disconnect', (reason) => {
          this.#lost.abort(new KerbError(ErrorCode.BrokerLost, `the connection to ${url} was lost (${reason})`));
        });
        socket.once('connect_error', (error) => {
          clearTimeout(timer);
          reject(noBroker(url, reasonOf(error)));
        });
        socket.once('hello', (bytes: unknown) => {
          clearTimeout(timer);
          try {
            const { broker, tasks } = decodeAnnouncement(bytes);
            this.#broker = broker;
            this.#offers = tasks;
            resolve();
          } catch (error) {
            reject(noBroker(url, `its announcement cannot be read: ${messageOf(error)}`));
          }
        });
        socket.connect();
      }),
    );
  }

  /**
   * Sends a package, and resolves when it is stored there and served, or was there already.
   * @param onSent told after each acknowledged piece how many bytes of how many have arrived
   * @throws KerbError with the code of the broker's refusal; BrokerLost: nothing of it is kept there; Cancelled
   */
  async push(
    digest: string,
    files: readonly PackageFile[],
    onSent: (bytes: number, of: number) => void = () => {},
  ): Promise<PushOutcome> {
    const offers = files.map(({ path, bytes }) => ({ path, size: bytes.length }));
    const total = offers.reduce((sum, { size }) => sum + size, 0);
    let outcome = await this.#send({ open: { digest, files: offers } });
    let sent = 0;
    const underWay: Promise<PushOutcome>[] = [];
    const acknowledged = async () => {
      outcome = await underWay.shift()!;
      onSent(sent, total);
    };
    if (outcome !== 'RECEIVING') return outcome;
    try {
      for (const piece of pieces(files)) {
        if (underWay.length === WINDOW) await acknowledged();
        sent += piece.length;
        underWay.push(this.#send({ data: piece }));
      }
      while (underWay.length > 0) await acknowledged();
    } finally {
      // Of what follows a refusal nobody has to hear again.
      for (const one of underWay) one.catch(() => {});
    }
    return outcome;
  }

  /** @throws KerbError with the code of the broker's refusal; BrokerLost; Cancelled */
  async remove(digest: string): Promise<void> {
    await this.#send({ remove: digest });
  }

  close(): void {
    this.#socket?.off();
    this.#socket?.disconnect();
    this.#agent?.destroy();
  }

  async #send(step: Step): Promise<PushOutcome> {
    const socket = this.#socket;
    if (socket === undefined) throw new KerbError(ErrorCode.NoBroker, 'not connected');
    const bytes = PushRequest.encode(step).finish();
    const answer = socket
      .timeout(REPLY_TIMEOUT_MS)
      .emitWithAck('push', bytes)
      .catch(() => {
        const message = `broker ${this.#broker} has not answered for ${REPLY_TIMEOUT_MS / 1000} s; does it know pushes?`;
        throw new KerbError(ErrorCode.BrokerLost, message);
      });
    const { state, refusal: wire } = decodeReply(await this.#unlessLost(answer));
    if (wire != null) {
      const { code, message } = refusalFrom(wire);
      const known = errorName(code) === 'Unknown' ? ErrorCode.OffloadRefused : (code as ErrorCode);
      throw new KerbError(known, `broker ${this.#broker}: ${message}`, { refusal: code });
    }
    return PushState[state ?? 0] as PushOutcome;
  }

  async #unlessLost<T>(step: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    const lost = this.#lost.signal;
    let undo = () => {};
    const ended = new Promise<never>((_, reject) => {
      const cancel = () => reject(new KerbError(ErrorCode.Cancelled, 'cancelled'));
      const lose = () => reject(lost.reason as KerbError);
      if (signal?.aborted) cancel();
      if (lost.aborted) lose();
      signal?.addEventListener('abort', cancel, { once: true });
      lost.addEventListener('abort', lose, { once: true });
      undo = () => {
        signal?.removeEventListener('abort', cancel);
        lost.removeEventListener('abort', lose);
      };
    });
    try {
      return await Promise.race([step, ended]);
    } finally {
      undo();
    }
  }
}

/** The files, one after the other, in pieces that fit into one message each. */
function* pieces(files: readonly PackageFile[]): Generator<Uint8Array> {
  for (const { bytes } of files) {
    for (let at = 0; at < bytes.length; at += PUSH_CHUNK) yield bytes.subarray(at, at + PUSH_CHUNK);
  }
}

function decodeReply(payload: unknown): ReturnType<typeof PushReply.decode> {
  try {
    const reply = PushReply.decode(payload as Uint8Array);
    if (reply.outcome === undefined) throw new Error('it holds neither a state nor a refusal');
    return reply;
  } catch (cause) {
    const message = `the broker sent an answer that cannot be read: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.BadProtocolMessage, message, {}, { cause });
  }
}

function noBroker(url: string, why: string): KerbError {
  return new KerbError(ErrorCode.NoBroker, `no connection to a broker at ${url}: ${why}`, { url });
}

/** The most telling sentence of what socket.io, engine.io, ws and TLS have wrapped into one another. */
function reasonOf(error: Error): string {
  const { description } = error as Error & { description?: { error?: NodeJS.ErrnoException; message?: string } };
  const cause = description?.error;
  return cause?.message || cause?.code || description?.message || error.message;
}
