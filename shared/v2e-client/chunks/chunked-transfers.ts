import type { Socket } from 'socket.io-client';
import { decodeChunk, decodeCredit } from '../../protocol/chunks.ts';
import { bytesOf } from '../../protocol/v2e-socket.ts';
import { V2eWebSocket } from '../../protocol/v2e-transport.ts';
import { ChunkReceiver } from './chunk-receiver.ts';
import { ChunkSender, type ChunkWire } from './chunk-sender.ts';

/** Bytes that may be on this side of a connection when one more chunk is written. */
const HIGH_WATER = 64 * 1024;

/** The inputs and outputs that cross to and from one broker in chunks: over the connection that there is, and the next one. */
export class ChunkedTransfers implements ChunkWire {
  readonly sender: ChunkSender;
  readonly receiver: ChunkReceiver;
  #socket: Socket | undefined;
  #transport: V2eWebSocket | undefined;

  constructor(broker: () => string) {
    this.sender = new ChunkSender(this);
    this.receiver = new ChunkReceiver(this, broker);
  }

  get canWrite(): boolean {
    return this.#socket?.connected === true && (this.#transport?.unwritten ?? 0) < HIGH_WATER;
  }

  send(event: 'chunk' | 'credit', bytes: Uint8Array): void {
    if (this.#socket?.connected) this.#socket.emit(event, bytes);
  }

  /** @param spoiled told of an offload whose output cannot be used */
  follow(socket: Socket, spoiled: (id: string) => void): void {
    this.#socket = socket;
    socket.io.on('open', () => {
      const { transport } = socket.io.engine;
      if (!(transport instanceof V2eWebSocket)) return;
      this.#transport = transport;
      transport.onWritten = () => this.sender.pump();
    });
    socket.on('credit', (bytes: unknown) => ignoreBad(() => this.sender.credit(decodeCredit(bytesOf(bytes)))));
    socket.on('chunk', (bytes: unknown) =>
      ignoreBad(() => {
        const chunk = decodeChunk(bytesOf(bytes));
        if (!this.receiver.take(chunk)) spoiled(chunk.id);
      }),
    );
  }

  /** Inputs begin anew with the next connection, where the broker says; what came of outputs is kept. */
  lost(): void {
    this.sender.clear();
    this.receiver.lost();
  }

  stop(): void {
    this.lost();
    this.receiver.stop();
    this.#socket = undefined;
    this.#transport = undefined;
  }
}

/** A message that cannot be read belongs to no offload that is known; each ends with its budget at the latest. */
function ignoreBad(act: () => void): void {
  try {
    act();
  } catch {}
}
