import type { Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Server } from 'socket.io';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { listenFault } from '../../shared/host/listen.ts';
import type { Identity, VehiclePrincipal } from '../../shared/identity/identity.ts';
import { shownText } from '../../shared/protocol/shown-refusal.ts';
import type { V2eEvent } from '../../shared/protocol/v2e-parser.ts';
import { V2E_PING_MS } from '../../shared/protocol/v2e-socket.ts';
import type { ClientLimits } from '../tenants/policy.ts';
import { type Announcement, Announcer } from './announcer.ts';
import type { ClientLog } from './client-log.ts';
import { type EventOptions, Events } from './events.ts';
import { ExpiryWatch } from './expiry-watch.ts';
import { addressOf, httpsServer, PING_TIMEOUT_MS, socketIoServer, takeOver, type UpgradeRules } from './front.ts';
import { Connections } from './limits/connections.ts';
import { Heartbeat } from './limits/heartbeat.ts';
import { eachInTurns } from './limits/in-turns.ts';
import { type Request, type Sender, Senders } from './limits/senders.ts';
import { Turns } from './limits/turns.ts';
import type { ClientSocket, ConnectedVehicle, NeighbourDoor, Shown } from './link-types.ts';
import { TURN_RULES } from './turn-rules.ts';
import { type LinkOwner, VehicleLink } from './vehicle-link.ts';
import type { UsedWebSocket } from './web-sockets.ts';

export interface IngressOptions extends Omit<EventOptions, 'broker' | 'onRefused'> {
  readonly identity: Identity;
  readonly listen: { readonly host: string; readonly port: number };
  /** Largest input of any task, in bytes. */
  readonly maxInput: number;
  /** Connections at the same time. */
  readonly maxClients: number;
  readonly announcement: Announcement;
  /** The limits of this client; asked again and again, because the policy may change. */
  readonly limitsOf: (client: VehiclePrincipal) => ClientLimits;
  /** Why this client is not served at all; undefined: it is. */
  readonly refusalOf: (client: VehiclePrincipal) => KerbError | undefined;
  /** Its connection is gone, or its certificate good no more: `openIds` are its offloads that were not answered on it. */
  readonly linkLost: (client: VehiclePrincipal, openIds: readonly string[], link: object) => void;
  /** A vehicle is there; the result is called when its connection has ended. */
  readonly onConnected: (client: ConnectedVehicle) => () => void;
  readonly neighbours?: NeighbourDoor;
  readonly clients: ClientLog;
  readonly log: Logger;
}

const CLOSE_TIMEOUT_MS = 500;

/**
 * Vehicles come in here: socket.io on WebSocket over mutual TLS 1.3. Only vehicles of a trusted authority get as far as
 * sending anything. Whatever a client sends, it costs at most its own connection.
 */
export class Ingress implements LinkOwner {
  readonly turns: Turns<Sender, Request>;
  readonly #options: IngressOptions;
  readonly #connections: Connections;
  readonly #senders: Senders;
  readonly #events: Events;
  /** By their TLS connection, from the upgrade on. */
  readonly #links = new Map<TLSSocket, VehicleLink>();
  #identity: Identity;
  #stopping = false;
  readonly #announcer: Announcer;
  readonly #heartbeat = new Heartbeat(V2E_PING_MS, V2E_PING_MS + PING_TIMEOUT_MS);
  /** A certificate ends at its moment: whoever has shown it is judged again then. */
  readonly #expiry = new ExpiryWatch(
    () => this.#links.values(),
    (link) => this.#judgeAgain(link),
  );
  #listening: Promise<void> = Promise.resolve();
  #https: HttpsServer | undefined;
  #io: Server | undefined;

  constructor(options: IngressOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#connections = new Connections({ max: options.maxClients });
    this.#announcer = new Announcer(() => this.#links.values(), options.announcement);
    this.#senders = new Senders(options.limitsOf);
    const onRefused = options.clients.refused;
    this.#events = new Events({ ...options, broker: options.identity.self.id, onRefused });
    this.turns = new Turns<Sender, Request>(TURN_RULES);
  }

  get port(): number {
    return (this.#https?.address() as AddressInfo | null)?.port ?? 0;
  }

  get clients(): number {
    let count = 0;
    for (const { isServed } of this.#links.values()) if (isServed) count++;
    return count;
  }

  /** Also those that have not come as far as to be clients. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Of all that are served, who they are. */
  *vehicles(): Generator<ConnectedVehicle> {
    for (const link of this.#links.values()) if (link.isServed) yield link.client!;
  }

  /** @throws KerbError BadConfig when it cannot listen there */
  async start(): Promise<void> {
    const { listen, log } = this.#options;
    const https = httpsServer(this.#identity, {
      meet: (socket, proceed) => this.#connections.meet(socket, proceed),
      authenticate: (socket) => this.#authenticate(socket),
      failed: (socket, reason) =>
        this.#options.clients.refused(addressOf(socket), unauthenticated(`the TLS handshake failed: ${reason}`)),
    });
    const rules: UpgradeRules = {
      isHeld: (socket) => this.#connections.isHeld(socket),
      userOf: (socket, webSocket) => this.#meet(socket, webSocket),
    };
    const io = socketIoServer(https, this.#options.maxInput, rules, this.#options.neighbours);
    io.use((socket, next) => next(this.#admit(socket as unknown as ClientSocket)));
    io.on('connection', (socket) => this.#serve(socket as unknown as ClientSocket));
    this.#https = https;
    this.#io = io;
    this.#listening = new Promise<void>((resolve, reject) => {
      https.once('error', (error) => {
        const where = `${listen.host}:${listen.port}`;
        const message = `cannot listen on ${where}: ${listenFault(error)}`;
        reject(new KerbError(ErrorCode.BadConfig, message, { where }, { cause: error }));
      });
      https.listen(listen.port, listen.host, resolve);
    });
    await this.#listening;
    https.on('error', (error) => log.error({ err: messageOf(error) }, 'the listening socket failed'));
  }

  /** Tells every client anew what there is. */
  announce(): void {
    this.#announcer.announce();
  }

  /** Tells every client of version 2 that this broker will not be there much longer. */
  drain(endsInMs: number, tryBrokers: readonly string[]): void {
    this.#announcer.drain(endsInMs, tryBrokers);
  }

  /** It stays after all: a new announcement takes the notice back. */
  recall(): void {
    this.#announcer.recall();
  }

  /** Connections of vehicles that the new policy does not serve are ended; the others hear what they may run now. */
  policyChanged(): void {
    this.review();
    this.announce();
  }

  /** New connections meet this identity. Those that are there go on, unless it believes them no more. */
  renew(identity: Identity): void {
    this.#identity = identity;
    this.#https?.setSecureContext(identity.serverOptions());
    this.review();
  }

  /** Ends every connection whose certificate is good no more, or whose client is not to be served any more. */
  review(): void {
    eachInTurns(this.#links.values(), (link) => this.#judgeAgain(link));
  }

  /** Ends every connection. */
  async stop(): Promise<void> {
    const io = this.#io;
    const https = this.#https;
    this.#io = undefined;
    this.#https = undefined;
    this.#expiry.stop();
    this.#heartbeat.stop();
    if (io === undefined || https === undefined) return;
    // A server that is closed before it listens would listen all the same a moment later.
    await this.#listening.catch(() => {});
    this.turns.flush();
    // Whatever was answered is written first. A client that does not close in time is cut off.
    this.#stopping = true;
    io.disconnectSockets(true);
    https.closeIdleConnections();
    await this.#connections.close(CLOSE_TIMEOUT_MS);
    this.turns.stop();
    this.#events.transfers.stop();
    await io.close();
  }

  handle(link: VehicleLink, event: V2eEvent, arrivedAt: number, quota: string): void {
    this.#events.handle(link, event, arrivedAt, quota);
  }

  refused(link: VehicleLink, problem: KerbError): void {
    const { client } = link.sender ?? {};
    this.#options.clients.refused(client === undefined ? addressOf(link.connection) : `vehicle ${client.id}`, problem);
  }

  lost(link: VehicleLink, open: readonly string[]): void {
    this.#events.transfers.lost(link);
    if (link.sender !== undefined && open.length > 0) this.#options.linkLost(link.sender.client, open, link);
  }

  drained(link: VehicleLink): void {
    this.#events.transfers.drained(link);
  }

  /** Connections that have shown the certificate of a vehicle, and why those that may not go on may not. */
  readonly #shown = new WeakMap<TLSSocket, Shown>();
  readonly #problemOf = new WeakMap<TLSSocket, KerbError>();

  #meet(socket: TLSSocket, webSocket: UsedWebSocket): VehicleLink {
    const link = new VehicleLink(this, this.#shown.get(socket), socket, webSocket);
    this.#links.set(socket, link);
    socket.once('close', () => this.#links.delete(socket));
    return link;
  }

  #authenticate(socket: TLSSocket): void {
    try {
      const peer = this.#identity.peerOf(socket);
      if (this.#options.neighbours?.admits(peer, socket)) return void this.#connections.known(socket);
      if (peer.kind !== 'vehicle') {
        throw unauthenticated(`only vehicles are served here; the certificate is of ${peer.kind} ${peer.id}`);
      }
      const refusal = this.#options.refusalOf(peer);
      if (refusal !== undefined) throw refusal;
      const sender = this.#senders.meet(peer);
      this.#shown.set(socket, { sender, expiresAt: peer.expiresAt });
      this.#connections.known(socket);
      socket.once('close', () => this.#senders.leave(sender));
      this.#expiry.add(peer.expiresAt);
    } catch (error) {
      const problem = isKerbError(error) ? error : unauthenticated(messageOf(error));
      this.#options.clients.refused(addressOf(socket), problem);
      // A stolen vehicle is cut off without a word. The others are told why when they have come as far as that.
      if (problem.code === ErrorCode.CertificateRevoked) socket.destroy();
      else this.#problemOf.set(socket, problem);
      // A certificate that keeps asking for more connections than it may have would take every handshake of its address.
      if (isTooOften(problem)) this.#connections.hold(socket);
    }
  }

  /** The message of the error reaches the client as its connect_error. */
  #admit(socket: ClientSocket): Error | undefined {
    const connection = socket.request.socket as TLSSocket;
    const link = this.#links.get(connection);
    let problem = this.#problemOf.get(connection);
    if (this.#stopping) problem = new KerbError(ErrorCode.BrokerStopping, 'this broker is stopping; use another one');
    if (link === undefined || link.expiresAt < Date.now()) problem ??= unauthenticated('it is not known who this is');
    try {
      if (problem === undefined) link!.greeted(socket.handshake.auth);
    } catch (error) {
      problem = error as KerbError;
      this.refused(link!, problem);
    }
    if (problem === undefined) return undefined;
    setImmediate(() => link?.dismiss());
    return new Error(shownText(problem.message));
  }

  #serve(socket: ClientSocket): void {
    const link = this.#links.get(socket.request.socket as TLSSocket);
    if (link?.client === undefined) return void socket.disconnect(true);
    const { clients, onConnected } = this.#options;
    const { id, tenant } = link.client;
    clients.connected(id, tenant);
    const ended = onConnected(link.client);
    socket.on('disconnect', (reason) => {
      clients.disconnected(id, reason);
      ended();
    });
    takeOver(socket.conn);
    link.serve(socket, this.#heartbeat);
    this.#announcer.greet(link);
  }

  #judgeAgain(link: VehicleLink): void {
    if (link.sender === undefined || link.connection.destroyed) return;
    try {
      this.#identity.peerOf(link.connection);
      const refusal = this.#options.refusalOf(link.sender.client);
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      const problem = isKerbError(error) ? error : unauthenticated(messageOf(error));
      const isRevoked = problem.code === ErrorCode.CertificateRevoked;
      link.end(isRevoked || problem.code !== ErrorCode.BadIdentity ? problem : unauthenticated(problem.message));
    }
  }
}

function isTooOften({ code, context }: KerbError): boolean {
  return code === ErrorCode.TooManyConnections && context.told === false;
}

function unauthenticated(message: string): KerbError {
  return new KerbError(ErrorCode.Unauthenticated, message);
}
