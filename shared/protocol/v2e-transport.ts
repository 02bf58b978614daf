import { NodeWebSocket } from 'socket.io-client';

interface Ws {
  readonly bufferedAmount: number;
  send(data: unknown, options: object, written: () => void): void;
}

/** The mask of RFC 6455 protects proxies on the way from what a client sends. Inside of TLS there are none. */
const NO_MASK = (mask: Uint8Array): void => {
  mask.fill(0);
};

/** The client's WebSocket, which says how much of what was sent is still on this side. */
export class V2eWebSocket extends NodeWebSocket {
  /** Called when something that was sent has been handed to the kernel. */
  onWritten: () => void = () => {};

  /** Bytes that were sent and are not handed to the kernel. */
  get unwritten(): number {
    return this.#ws?.bufferedAmount ?? 0;
  }

  /** `ws` leaves out masking where the mask is zero: that of 1 MiB takes a millisecond on each side. */
  override createSocket(uri: string, protocols: string | string[] | undefined, options: Record<string, unknown>) {
    return super.createSocket(uri, protocols, { ...options, generateMask: NO_MASK });
  }

  override doWrite(_packet: unknown, data: unknown): void {
    this.#ws?.send(data, {}, () => this.onWritten());
  }

  get #ws(): Ws | undefined {
    return (this as unknown as { ws: Ws | null }).ws ?? undefined;
  }
}
