import nodeIpc, { type Client } from 'node-ipc';
import { messageOf } from '../base/errors.ts';
import { DelimitedReader } from '../protocol/framing.ts';
import { type ClientFields, decodeServerMessage, encodeClientMessage, type ServerMessage } from './messages.ts';

/** Milliseconds between two attempts to reach the OBU. */
const RETRY_MS = 250;
const NAME = 'obu';

export interface LinkEvents {
  readonly up: () => void;
  readonly message: (message: ServerMessage) => void;
  /** Why: for the sentences of errors. */
  readonly down: (why: string) => void;
}

/** The socket to the OBU, which comes back by itself after the OBU does. */
export class Link {
  readonly #path: string;
  readonly #events: LinkEvents;
  // An IPC of its own: node-ipc's configuration is shared by all users of an instance.
  readonly #ipc = new nodeIpc.IPC();
  #client: Client | undefined;
  #reader = new DelimitedReader();
  #isUp = false;
  #lastError = '';

  constructor(path: string, events: LinkEvents) {
    this.#path = path;
    this.#events = events;
  }

  open(): void {
    const { config } = this.#ipc;
    Object.assign(config, { silent: true, rawBuffer: true, retry: RETRY_MS, maxRetries: Number.POSITIVE_INFINITY });
    this.#ipc.connectTo(NAME, this.#path);
    const client = this.#ipc.of[NAME]!;
    this.#client = client;
    client.on('error', (error) => {
      this.#lastError = messageOf(error);
    });
    client.on('connect', () => {
      this.#reader = new DelimitedReader();
      this.#isUp = true;
      this.#events.up();
    });
    client.on('data', (data) => this.#receive(data));
    client.on('disconnect', () => {
      this.#isUp = false;
      this.#events.down(this.#lastError || 'the OBU closed the connection');
      this.#lastError = '';
    });
  }

  close(): void {
    this.#isUp = false;
    this.#client = undefined;
    this.#ipc.disconnect(NAME);
  }

  /** Sends, or does nothing while the link is down: whoever has something open sends it again when it is up. */
  send(message: ClientFields): void {
    if (this.#isUp) this.#client?.emit(encodeClientMessage(message));
  }

  #receive(data: Buffer): void {
    try {
      for (const bytes of this.#reader.push(data)) {
        if (this.#client === undefined) return;
        this.#events.message(decodeServerMessage(bytes));
      }
    } catch (error) {
      // The stream from the OBU is no longer valid; a new connection begins afresh.
      this.#lastError = messageOf(error);
      if (this.#client?.socket) this.#client.socket.destroy();
    }
  }
}
