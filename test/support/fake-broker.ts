import { createServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { ErrorCode } from '../../shared/base/errors.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';

const { OffloadRequest: WireRequest, OffloadReply, ServiceAnnouncement } = kerbside.v2e;
const { DrainNotice, CancelRequest, CancelReply, DescribeRequest, DescribeReply } = kerbside.v2e;

export type WireOffload = ReturnType<typeof WireRequest.decode>;
export type FakeAnswer = (reply: Parameters<typeof OffloadReply.encode>[0] | Buffer) => void;

export const DIGEST = `sha256:${'a'.repeat(64)}`;

/** The broker's end of the wire, with any certificate, that answers as a test says. No part of `broker/` is in it. */
export class FakeBroker {
  readonly received: WireOffload[] = [];
  readonly #options: {
    serverOptions: () => object;
    port?: number;
    onOffload?: (request: WireOffload, answer: FakeAnswer) => void;
  };
  #https!: HttpsServer;
  #io!: Server;
  hello: Parameters<typeof ServiceAnnouncement.encode>[0] | Buffer = {
    version: 1,
    broker: 'rsu-1',
    tasks: [{ digest: DIGEST, name: 'echo', version: '1', maxInput: 1000, maxOutput: 1000 }],
    maxInput: 1000,
  };
  refuse: string | undefined;
  readonly cancelled: string[] = [];
  onDescribe: (query: ReturnType<typeof DescribeRequest.decode>) => Parameters<typeof DescribeReply.encode>[0] =
    () => ({
      refusal: { code: ErrorCode.UnknownPackage, message: 'none such' },
    });
  /** Is told the number of the certificate of everybody who connects. */
  onPeer: (serial: string) => void = () => {};

  constructor(options: {
    serverOptions: () => object;
    port?: number;
    onOffload?: (request: WireOffload, answer: FakeAnswer) => void;
  }) {
    this.#options = options;
  }

  get port(): number {
    return (this.#https.address() as AddressInfo).port;
  }
  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  async start(): Promise<this> {
    this.#https = createServer(this.#options.serverOptions());
    this.#https.on('secureConnection', (socket) => this.onPeer(socket.getPeerX509Certificate()?.serialNumber ?? ''));
    this.#io = new Server(this.#https, V2E_TRANSPORT);
    this.#io.use((_socket, next) => next(this.refuse === undefined ? undefined : new Error(this.refuse)));
    this.#io.on('connection', (socket) => {
      socket.emit('hello', Buffer.isBuffer(this.hello) ? this.hello : ServiceAnnouncement.encode(this.hello).finish());
      socket.on('describe', (payload: Buffer, reply: (bytes: Uint8Array) => void) => {
        reply(DescribeReply.encode(this.onDescribe(DescribeRequest.decode(payload))).finish());
      });
      socket.on('cancel', (payload: Buffer, reply: (bytes: Uint8Array) => void) => {
        this.cancelled.push(CancelRequest.decode(payload).id);
        reply(CancelReply.encode({ state: 0 }).finish());
      });
      socket.on('offload', (payload: Buffer, reply: (bytes: Uint8Array) => void) => {
        const request = WireRequest.decode(payload);
        this.received.push(request);
        const answer: FakeAnswer = (body) => reply(Buffer.isBuffer(body) ? body : OffloadReply.encode(body).finish());
        if (this.#options.onOffload) this.#options.onOffload(request, answer);
        else
          answer({
            id: request.id,
            result: { output: request.input, queueMs: 1, runMs: 2, isolation: 'process' },
            heldMs: 0,
          });
      });
    });
    await new Promise<void>((resolve) => this.#https.listen(this.#options.port ?? 0, '127.0.0.1', resolve));
    return this;
  }

  /** Past socket.io: each becomes one WebSocket message. */
  sendRaw(...messages: (string | Buffer)[]): void {
    for (const { conn } of this.#io.sockets.sockets.values()) for (const message of messages) conn.write(message);
  }

  /** To all clients; undefined: it serves again, which is said by another `hello`. */
  drain(notice: Parameters<typeof DrainNotice.encode>[0] | Buffer | undefined): void {
    for (const socket of this.#io.sockets.sockets.values()) {
      if (notice === undefined) socket.emit('hello', ServiceAnnouncement.encode(this.hello as object).finish());
      else socket.emit('drain', Buffer.isBuffer(notice) ? notice : DrainNotice.encode(notice).finish());
    }
  }

  disconnectClients(): void {
    this.#io.disconnectSockets(true);
  }

  async stop(): Promise<void> {
    const closed = this.#io.close();
    this.#https.closeAllConnections();
    await closed;
  }
}
