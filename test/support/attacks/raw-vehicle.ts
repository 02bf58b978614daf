import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import { WebSocket } from 'ws';
import { V2E_PATH } from '../../../shared/protocol/v2e-socket.ts';

const EVENT = 2;
const ACK = 3;
const HEADER = 6;
const OPCODE_TEXT = 1;

/**
 * The calling end of V2E by hand, without socket.io: small enough for thousands in one process, and free to break every
 * rule. It answers pings, as a vehicle that is well does.
 */
export class RawVehicle {
  readonly #socket: WebSocket;
  /** Called with the id of an acknowledgement. */
  onAnswer: (id: number, bytes: Buffer) => void = () => {};
  #next = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('error', () => {}); // being cut off is what an attack ends with
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (!isBinary && data[0] === 0x32) this.#send('3');
      else if (isBinary && data[0] === ACK) this.onAnswer(data.readUInt32LE(2) - 1, data);
    });
  }

  /**
   * Resolves when the WebSocket is there. The broker has not been greeted.
   * @param tls certificate, key and authority; the name of the broker is not checked
   * @throws Error when it is not there within `limitMs`
   */
  static async open(url: string, tls: SecureContextOptions, limitMs = 10_000): Promise<RawVehicle> {
    const { origin } = new URL(url);
    const socket = new WebSocket(`${origin.replace('https:', 'wss:')}${V2E_PATH}/?EIO=4&transport=websocket`, {
      ...tls,
      rejectUnauthorized: false,
      perMessageDeflate: false,
      handshakeTimeout: limitMs,
    });
    const vehicle = new RawVehicle(socket);
    await once(socket, 'open');
    return vehicle;
  }

  /** Resolves when the broker has greeted. @throws Error when it does not within `limitMs` */
  static async connect(url: string, tls: SecureContextOptions, limitMs = 10_000): Promise<RawVehicle> {
    const vehicle = await RawVehicle.open(url, tls, limitMs);
    try {
      await vehicle.#greet(limitMs);
      return vehicle;
    } catch (error) {
      vehicle.end();
      throw error;
    }
  }

  #greet(limitMs: number): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the broker has not greeted for ${limitMs} ms`)), limitMs);
      const settle = (error?: Error) => {
        clearTimeout(timer);
        socket.off('message', listen);
        if (error === undefined) resolve();
        else reject(error);
      };
      const listen = (data: Buffer, isBinary: boolean) => {
        if (isBinary)
          settle(); // "hello"
        else if (data.toString('latin1', 0, 2) === '44') settle(new Error(data.toString('utf8', 2, 300)));
      };
      socket.on('message', listen);
      socket.once('close', (code) => settle(new Error(`it was closed (${code}) before the broker had greeted`)));
      this.#send('40{"versions":[1,2],"features":[]}');
    });
  }

  get connected(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /** Bytes that have been sent and that the kernel has not taken. */
  get unsent(): number {
    return this.#socket.bufferedAmount;
  }

  /** Resolves when the connection has ended. */
  get closed(): Promise<void> {
    if (this.#socket.readyState === WebSocket.CLOSED) return Promise.resolve();
    return new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  /** Sends an event with one binary argument that wants an answer; returns its id. */
  emit(event: string, bytes: Uint8Array): number {
    const id = this.#next++;
    const header = Buffer.alloc(HEADER);
    header[0] = EVENT;
    header[1] = event.length;
    header.writeUInt32LE(id + 1, 2);
    if (this.connected) this.#socket.send(Buffer.concat([header, Buffer.from(event, 'latin1'), bytes]));
    return id;
  }

  /** Many text messages in one write to the TLS connection, past whatever counts or delays messages. */
  writeAtOnce(text: string, count: number): void {
    const payload = Buffer.from(text, 'utf8');
    // A client masks its frames; the mask may be zero.
    const frame = Buffer.concat([Buffer.of(0x80 | OPCODE_TEXT, 0x80 | payload.length, 0, 0, 0, 0), payload]);
    this.#stream?.write(Buffer.concat(Array.from({ length: count }, () => frame)));
  }

  /** Reads nothing any more, not even what ends the connection. */
  stopReading(): void {
    this.#stream?.pause();
    this.#stream?.removeAllListeners('data');
  }

  end(): void {
    this.#socket.terminate();
  }

  #send(text: string): void {
    if (this.connected) this.#socket.send(text);
  }

  get #stream(): Duplex | undefined {
    return (this.#socket as unknown as { readonly _socket?: Duplex })._socket;
  }
}
