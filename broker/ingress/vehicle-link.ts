import type { TLSSocket } from 'node:tls';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { refusalOf } from '../../shared/base/refusal.ts';
import { shownRefusal } from '../../shared/protocol/shown-refusal.ts';
import { encodeAck, encodeEvent, readEvent, type V2eEvent } from '../../shared/protocol/v2e-parser.ts';
import type { PushClient } from '../packages/push-session.ts';
import { encodeRefusal } from './codec.ts';
import { FrameRules, type FrameVerdict } from './frame-rules.ts';
import { greetedClient } from './greeted-client.ts';
import type { Heartbeat } from './limits/heartbeat.ts';
import type { Request, RequestSource, Sender } from './limits/senders.ts';
import type { Turns } from './limits/turns.ts';
import type { BrokerEvents, ClientSocket, ConnectedVehicle, LinkAnswer, OpenOffload, Shown } from './link-types.ts';
import type { UsedWebSocket, WebSocketUser } from './web-sockets.ts';

/** The rest of the ingress, as a link needs it. */
export interface LinkOwner {
  readonly turns: Turns<Sender, Request>;
  /** Handles one event of a link that is served. @param quota that it was over for too long; empty: none */
  handle(link: VehicleLink, event: V2eEvent, arrivedAt: number, quota: string): void;
  refused(link: VehicleLink, problem: KerbError): void;
  /** The link is gone; `open` are the ids of its unanswered offloads. */
  lost(link: VehicleLink, open: readonly string[]): void;
  /** See `VehicleLink.canWrite`. */
  drained(link: VehicleLink): void;
}

/** Bytes of a message that take a turn of their own to be read or written. */
const LARGE = 64 * 1024;
/** A packet of engine.io. */
const PONG = 0x33;
/** WebSocket's "policy violation", and how many bytes the reason may have (RFC 6455, 7.4.1 and 5.5). */
const POLICY_VIOLATION = 1008;
const MAX_REASON = 123;

/** One connection of a vehicle, from the upgrade to WebSocket on. */
export class VehicleLink implements RequestSource, WebSocketUser {
  /** Undefined: it may not be served, and waits to be told why. */
  readonly sender: Sender | undefined;
  /** When the certificate that it has shown ends, in milliseconds since 1970. */
  readonly expiresAt: number;
  readonly connection: TLSSocket;
  readonly #owner: LinkOwner;
  readonly #webSocket: UsedWebSocket;
  readonly #rules = new FrameRules(performance.now());
  readonly #open = new Map<number, OpenOffload>();
  #socket: ClientSocket | undefined;
  #client: ConnectedVehicle | undefined;
  push: PushClient | undefined;
  /** Descriptions that are being read for it. */
  describing = 0;
  /** Requests for keys of the state of sessions that are not answered yet. */
  stateRequests = 0;
  /** Of messages that socket.io holds and TLS does not yet, and what of all of it the sender knows. */
  #queued = 0;
  #counted = 0;
  #unfinished = 0;
  /** When the bytes came that are looked at now. */
  #chunkAt = 0;
  #isEnded = false;

  constructor(owner: LinkOwner, shown: Shown | undefined, connection: TLSSocket, webSocket: UsedWebSocket) {
    const sender = shown?.sender;
    this.#owner = owner;
    this.sender = sender;
    this.expiresAt = shown?.expiresAt ?? Number.POSITIVE_INFINITY;
    this.connection = connection;
    this.#webSocket = webSocket;
    connection.prependListener('data', () => {
      this.#chunkAt = performance.now();
    });
    connection.on('data', (chunk: Buffer) => this.#read(chunk.length));
    connection.on('drain', () => this.#drained());
    connection.once('close', () => this.#gone());
  }

  /** Undefined until it is served. */
  get client(): ConnectedVehicle | undefined {
    return this.#client;
  }

  get isServed(): boolean {
    return this.#socket !== undefined && !this.#isEnded;
  }

  get unread(): number {
    return this.#queued + this.connection.writableLength;
  }

  /** Little of what was written is still on this side. */
  get canWrite(): boolean {
    return this.unread < this.connection.writableHighWaterMark;
  }

  /** Ids of the offloads that are not answered yet. */
  get openIds(): string[] {
    return [...this.#open.values()].map(({ id }) => id);
  }

  pause(): void {
    this.#webSocket.pause();
  }

  resume(): void {
    this.#webSocket.resume();
  }

  /** @throws KerbError BadProtocolMessage | NotSupported: what it said with its CONNECT cannot be used */
  greeted(auth: unknown): void {
    this.#client = greetedClient(auth, this.sender!.client, this.expiresAt);
  }

  /** socket.io has connected it. */
  serve(socket: ClientSocket, heartbeat: Heartbeat): void {
    this.#socket = socket;
    this.#webSocket.beat(heartbeat);
    // Everything has been handed to the TLS socket, which counts its own part.
    socket.conn.on('drain', () => {
      this.#queued = 0;
      this.#drained();
    });
  }

  /** An event of the broker; dropped when the client leaves too much unread to be told more. */
  tell(event: keyof BrokerEvents, bytes: Uint8Array): void {
    if (!this.isServed || this.sender!.isSlow) return;
    this.write(event, bytes);
  }

  /** An event that is never dropped. */
  write(event: keyof BrokerEvents | 'chunk' | 'credit', bytes: Uint8Array): void {
    if (this.isServed) this.#write(encodeEvent(event, bytes));
  }

  message(data: Buffer, isBinary: boolean): void {
    if (this.#isEnded) return;
    const now = performance.now();
    this.#forgetUnfinished();
    const verdict = this.#rules.judge(data, isBinary, now);
    if (verdict === 'pass') {
      // The heartbeat has seen it, and engine.io waits for none.
      if (this.#socket === undefined || data[0] !== PONG) this.#webSocket.pass(data);
    } else if (verdict !== 'request') this.#violated(verdict);
    else if (this.sender === undefined || this.#socket === undefined) {
      this.#violated({ fault: 'a message before the broker has said hello' });
    } else {
      const { turns } = this.#owner;
      turns.take(this.sender, { source: this, message: data, arrivedAt: now });
      if (data.length >= LARGE) turns.assembled(this.sender, this, Math.max(0, now - this.#chunkAt));
    }
  }

  control(): void {
    if (this.#isEnded) return;
    const verdict = this.#rules.control(performance.now());
    if (verdict === 'pass') this.#webSocket.pong();
    else if (verdict !== 'request') this.#violated(verdict);
  }

  /** Its turn has come. */
  handle({ message, arrivedAt }: Request, quota: string): void {
    if (!this.isServed) return;
    let event: V2eEvent;
    try {
      event = readEvent(message);
    } catch (error) {
      this.end(isKerbError(error) ? error : badMessage(messageOf(error)));
      return;
    }
    this.#owner.handle(this, event, arrivedAt, quota);
  }

  /** Acknowledges an event. @returns false when the link is ended, by this answer or before */
  answer(ack: number, bytes: Uint8Array): boolean {
    if (!this.isServed) return false;
    const sender = this.sender!;
    if (sender.isStuck) {
      const why = `more than ${Math.min(sender.unread, sender.limits.unreadBytes)} bytes of answers were left unread`;
      this.end(new KerbError(ErrorCode.QuotaSpent, why, { quota: 'unread' }));
      return false;
    }
    this.#write(encodeAck(ack, bytes));
    return true;
  }

  /** An offload is handled from now on. @returns what answers it, once */
  begin(id: string, ack: number, arrivedAt: number, bytes: number): LinkAnswer {
    this.#open.set(ack, { id, ack, arrivedAt, bytes });
    this.sender!.hold(bytes);
    const give = (encode: (heldMs: number) => Uint8Array) => {
      const open = this.#open.get(ack);
      if (open === undefined || !this.#close(open)) return;
      this.answer(ack, encode(performance.now() - arrivedAt));
    };
    return (encode, size = 0) => {
      // To copy and encrypt MiBs takes milliseconds, and many callers may wait for one output.
      if (size < LARGE) give(encode);
      else this.#owner.turns.later(this.sender!, () => give(encode));
    };
  }

  /** An acknowledgement number that is in use would be answered twice. */
  isOpen(ack: number): boolean {
    return this.#open.has(ack);
  }

  /** Ends it, and says why to whoever waits for an answer. */
  end(problem: KerbError): void {
    if (this.#isEnded) return;
    this.#owner.refused(this, problem);
    const open = [...this.#open.values()];
    const ids = this.openIds;
    const why = shownRefusal(refusalOf(problem));
    if (this.isServed && !this.sender!.isStuck) {
      for (const one of open) {
        this.#write(encodeAck(one.ack, encodeRefusal(one.id, why, performance.now() - one.arrivedAt)));
      }
    }
    for (const one of open) this.#close(one);
    this.#isEnded = true;
    // socket.io's client does not come back by itself after this.
    this.#socket?.disconnect();
    // The close frame would wait behind all that this client does not read.
    if (problem.code === ErrorCode.QuotaSpent) this.#webSocket.terminate();
    else this.#webSocket.close(POLICY_VIOLATION, why.message.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_REASON));
    if (ids.length > 0) this.#owner.lost(this, ids);
  }

  /** A last word to one that is not served, as its connect_error has it already. */
  dismiss(): void {
    this.#isEnded = true;
    this.#webSocket.close(POLICY_VIOLATION);
  }

  #write(message: Buffer): void {
    this.#queued += message.length;
    this.#socket!.conn.write(message);
    this.#countUnread();
  }

  #drained(): void {
    this.#countUnread();
    if (this.canWrite) this.#owner.drained(this);
  }

  #violated(verdict: Exclude<FrameVerdict, string>): void {
    this.end(badMessage(verdict.fault));
  }

  #close(open: OpenOffload): boolean {
    if (!this.#open.delete(open.ack)) return false;
    this.sender!.release(open.bytes);
    return true;
  }

  #read(bytes: number): void {
    this.#webSocket.heardAt = performance.now();
    const { sender } = this;
    if (sender === undefined) return;
    this.#unfinished += bytes;
    sender.unfinished += bytes;
    this.#owner.turns.read(sender, this, bytes);
    // One message may always arrive whole, so that an input above the tenant's quota is refused by name, and the link stays.
    const most = Math.max(sender.limits.bytesInFlight, this.#webSocket.maxMessage);
    if (sender.unfinished > most && !this.#isEnded) {
      const why = `${sender.unfinished} bytes of messages without an end are too many`;
      this.end(new KerbError(ErrorCode.QuotaSpent, why, { quota: 'bytes' }));
    }
  }

  #forgetUnfinished(): void {
    if (this.sender !== undefined) this.sender.unfinished -= this.#unfinished;
    this.#unfinished = 0;
  }

  #countUnread(): void {
    const now = this.unread;
    this.sender?.addUnread(now - this.#counted);
    this.#counted = now;
  }

  #gone(): void {
    const { sender } = this;
    const ids = this.openIds;
    for (const one of [...this.#open.values()]) this.#close(one);
    this.#isEnded = true;
    if (sender !== undefined) {
      this.#forgetUnfinished();
      sender.addUnread(-this.#counted);
      this.#counted = 0;
      this.#owner.turns.forget(sender, this);
    }
    void this.push?.end();
    this.#owner.lost(this, ids);
  }
}

function badMessage(what: string): KerbError {
  return new KerbError(ErrorCode.BadProtocolMessage, `the connection cannot be used: ${what}`);
}
