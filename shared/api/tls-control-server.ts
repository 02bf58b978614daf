import type { X509Certificate } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { closeServer, type ListenAddress, listenFault } from '../host/listen.ts';
import type { Identity, Principal } from '../identity/identity.ts';
import { type ControlRoutes, errorReply, HttpRouter } from './control-routes.ts';
import type { ControlServer } from './control-server.ts';

/** Connections at a time; a person with a few commands that follow needs a handful. */
const MAX_CONNECTIONS = 64;
/** A client that has not finished its handshake or its request after this long is gone, in milliseconds. */
const HANDSHAKE_MS = 10_000;
const REQUEST_MS = 30_000;
/** So often it is looked whether the callers that are there still may: what they may is changed by others, and certificates end. */
const REVIEW_MS = 2000;

export interface TlsControlServerOptions {
  /** Port 0 takes a free one. */
  readonly listen: ListenAddress;
  readonly identity: Identity;
  /** Decides whether the owner of a valid certificate may use the API; all of it or nothing. */
  readonly mayCall: (caller: Principal) => boolean;
  /** Says where operators are named, to a caller that is refused. */
  readonly howAllowed: string;
  /** Names the setting of the address, for when it cannot be listened on: "api.listen in the configuration". */
  readonly listenKey: string;
  readonly routes: ControlRoutes;
  readonly log: Logger;
}

/**
 * The control API of a daemon over TLS 1.3. Whoever has no certificate of the authority is refused in the handshake,
 * and whoever may not call is answered with 403 before anything is done.
 */
export class TlsControlServer implements ControlServer {
  readonly #options: TlsControlServerOptions;
  readonly #router: HttpRouter;
  #identity: Identity;
  #server: Server | undefined;
  #listening: Promise<void> = Promise.resolve();
  /** Of open connections. Node gives the certificate of a client only while the connection is new. */
  readonly #shown = new Map<TLSSocket, X509Certificate>();
  #reviews: NodeJS.Timeout | undefined;

  constructor(options: TlsControlServerOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#router = new HttpRouter(options.routes, options.log);
  }

  /** That it listens on; undefined before the start. */
  get port(): number | undefined {
    const address = this.#server?.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** @throws KerbError ApiUnavailable */
  async start(): Promise<void> {
    const { listen, listenKey, log } = this.#options;
    const options = { ...this.#identity.serverOptions(), handshakeTimeout: HANDSHAKE_MS, requestTimeout: REQUEST_MS };
    const server = createServer(options, (request, response) => {
      const caller = this.#callerOf(request.socket as TLSSocket);
      if (!isKerbError(caller)) void this.#router.serve(request, response, caller);
      else {
        request.resume();
        void this.#router.send(response, errorReply(caller, 403), AbortSignal.abort());
      }
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.on('tlsClientError', (error, socket) =>
      log.warn({ client: socket.remoteAddress, err: messageOf(error) }, 'API client refused'),
    );
    server.on('secureConnection', (socket: TLSSocket) => {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined) return;
      this.#shown.set(socket, certificate);
      socket.once('close', () => this.#shown.delete(socket));
    });
    this.#reviews = setInterval(() => this.#review(), REVIEW_MS);
    this.#reviews.unref();
    this.#server = server;
    this.#listening = new Promise((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(listen, listenKey, error)));
      server.listen(listen.port, listen.host, resolve);
    });
    await this.#listening;
  }

  /** New connections meet this identity; of those that are there, the ones go on that would be let in again. */
  renew(identity: Identity): void {
    this.#identity = identity;
    this.#server?.setSecureContext(identity.serverOptions());
    this.#review();
  }

  /** Ends the connections of callers that may call no more, streams that follow something among them. */
  #review(): void {
    for (const [socket, certificate] of this.#shown) {
      let reason: string;
      try {
        const caller = this.#identity.principalOf(certificate);
        if (this.#options.mayCall(caller)) continue;
        reason = `${caller.kind} ${caller.id} may not call any more`;
      } catch (error) {
        reason = messageOf(error);
      }
      this.#options.log.warn({ client: socket.remoteAddress, reason }, 'API client disconnected');
      socket.destroy();
    }
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    clearInterval(this.#reviews);
    if (server !== undefined) await closeServer(server, this.#listening);
  }

  /** The caller, or why it may not call. */
  #callerOf(socket: TLSSocket): Principal | KerbError {
    const { mayCall, howAllowed, log } = this.#options;
    const identity = this.#identity;
    try {
      const caller = identity.peerOf(socket);
      if (mayCall(caller)) return caller;
      const message = `${caller.kind} ${caller.id} may not use the API of ${identity.self.kind} ${identity.self.id}; ${howAllowed}`;
      log.warn({ client: socket.remoteAddress, reason: message }, 'API client refused');
      return new KerbError(ErrorCode.ApiForbidden, message, { kind: caller.kind, id: caller.id });
    } catch (error) {
      if (isKerbError(error)) return error;
      throw error;
    }
  }
}

function cannotListen({ host, port }: ListenAddress, listenKey: string, error: unknown): KerbError {
  const message = `cannot listen on ${host}:${port} for the API: ${listenFault(error)}; change ${listenKey}`;
  return new KerbError(ErrorCode.ApiUnavailable, message, { host, port }, { cause: error });
}
