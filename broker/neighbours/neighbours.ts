import { Agent } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Socket as ServerSocket } from 'socket.io';
import { io } from 'socket.io-client';
import type { NeighbourStatus } from '../../shared/api/broker.ts';
import { backOffMs } from '../../shared/base/back-off.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { Identity, Principal } from '../../shared/identity/identity.ts';
import { V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import { describeConnectError } from '../../shared/v2e-client/link-errors.ts';
import type { NeighbourRule } from '../tenants/policy.ts';
import { type NeighbourHandlers, NeighbourLink, type WireSocket } from './neighbour-link.ts';
import { holdBack, NEIGHBOUR_PATH, NEIGHBOUR_VERSION } from './neighbour-server.ts';

export type NeighbourRight = NeighbourRule['may'][number];

export interface NeighboursOptions {
  readonly identity: Identity;
  /** Of the policy as it is now. */
  readonly rules: () => readonly NeighbourRule[];
  /** "https://host:port" of a neighbour that is configured, or else was found; undefined: not known. */
  readonly urlOf: (neighbour: string) => string | undefined;
  readonly handlers: NeighbourHandlers;
  /** The certificate (DER) that a neighbour has shown. */
  readonly onCertificate: (certificate: Buffer) => void;
  readonly onConnected: (neighbour: string) => void;
  readonly log: Logger;
}

const LOOK_MS = 250;
const BACK_OFF = { firstMs: 500, longestMs: 30_000 };
const CONNECT_TIMEOUT_MS = 5000;
/** So often certificates and policy are held against the links that are there, in milliseconds. */
const JUDGE_MS = 2000;

interface Dialling {
  failures: number;
  nextAt: number;
  reason: string;
  active: (() => void) | undefined;
}

/** The links to the neighbours that the policy names: one serving link for each, made again when it is lost. */
export class Neighbours {
  readonly #options: NeighboursOptions;
  #identity: Identity;
  readonly #links = new Map<string, NeighbourLink>();
  readonly #dialling = new Map<string, Dialling>();
  #timer: NodeJS.Timeout | undefined;
  #judgedAt = 0;
  #isStopped = false;

  constructor(options: NeighboursOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    for (const { active } of this.#dialling.values()) active?.();
    for (const link of this.#links.values()) link.close();
  }

  get #self(): string {
    return this.#identity.self.id;
  }

  /** Ids of all that the policy names. */
  get ids(): readonly string[] {
    return [...new Set(this.#options.rules().map(({ broker }) => broker))].filter((id) => id !== this.#self);
  }

  /** The rights of a neighbour here, for the vehicles of a tenant. */
  may(neighbour: string, tenant: string, right: NeighbourRight): boolean {
    return this.#options
      .rules()
      .some((rule) => rule.broker === neighbour && rule.tenant === tenant && rule.may.includes(right));
  }

  /** The neighbours that have this right for the vehicles of this tenant. */
  with(tenant: string, right: NeighbourRight): readonly string[] {
    return this.ids.filter((id) => this.may(id, tenant, right));
  }

  /** Undefined: it is not connected. */
  link(neighbour: string): NeighbourLink | undefined {
    const link = this.#links.get(neighbour);
    return link?.isOpen ? link : undefined;
  }

  status(): Pick<NeighbourStatus, 'broker' | 'state' | 'reason' | 'url' | 'since' | 'rights' | 'refused'>[] {
    const rules = this.#options.rules();
    return this.ids.map((broker) => {
      const link = this.link(broker);
      const url = this.#options.urlOf(broker) ?? '';
      const reason = this.#dialling.get(broker)?.reason ?? '';
      return {
        broker,
        state: link === undefined ? ('away' as const) : ('connected' as const),
        reason: link === undefined ? reason || (url === '' ? NO_ADDRESS : 'connecting') : '',
        url,
        ...(link && { since: link.since }),
        rights: rules.filter((rule) => rule.broker === broker).map(({ tenant, may }) => ({ tenant, may })),
        refused: link?.refused ?? 0,
      };
    });
  }

  /** New connections show this identity; those that are there go on, unless it believes them no more. */
  renew(identity: Identity): void {
    this.#identity = identity;
    this.review();
  }

  /** Ends the links of neighbours whose certificates are good no more, or whom the policy does not name any more. */
  review(): void {
    for (const link of this.#links.values()) {
      try {
        link.judge();
      } catch (error) {
        this.#options.log.warn({ broker: link.neighbour, err: messageOf(error) }, 'the link to a neighbour is ended');
        link.close();
      }
    }
  }

  /** True for a broker that the policy names. */
  admits({ kind, id }: Principal): boolean {
    return kind === 'broker' && this.ids.includes(id);
  }

  /** A neighbour has connected to this broker. */
  accept(socket: ServerSocket, connection: TLSSocket): void {
    try {
      const peer = this.#identity.peerOf(connection);
      const { id } = peer;
      // It tries again in a moment.
      if (!this.admits(peer) || this.#timer === undefined) throw notANeighbour(id);
      this.#add(id, id, socket, connection, () => socket.conn.transport);
    } catch {
      socket.disconnect(true);
    }
  }

  #add(
    neighbour: string,
    dialledBy: string,
    socket: WireSocket,
    connection: TLSSocket,
    transport: () => unknown,
  ): void {
    const before = this.link(neighbour);
    // Of a connection that was made here, Node gives it only once.
    const certificate = connection.getPeerX509Certificate();
    if (certificate === undefined) {
      socket.disconnect();
      return;
    }
    this.#options.onCertificate(Buffer.from(certificate.raw));
    const first = this.#self < neighbour ? this.#self : neighbour;
    // Both have connected at the same time: both ends keep the same one.
    if (before !== undefined && before.dialledBy !== dialledBy && before.dialledBy === first) {
      socket.disconnect();
      return;
    }
    const link = new NeighbourLink({
      ...{ neighbour, dialledBy, socket },
      holdBack: (ms) => holdBack(transport(), ms),
      judge: () => {
        this.#identity.principalOf(certificate);
        if (!this.ids.includes(neighbour)) throw notANeighbour(neighbour);
      },
      handlers: this.#options.handlers,
    });
    this.#links.set(neighbour, link);
    before?.close();
    this.#options.log.info({ broker: neighbour }, 'neighbour connected');
    socket.on('disconnect', (reason: string) => {
      if (this.#links.get(neighbour) !== link) return;
      this.#links.delete(neighbour);
      if (!this.#isStopped) this.#options.log.warn({ broker: neighbour, reason }, 'neighbour disconnected');
    });
    this.#options.onConnected(neighbour);
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#judgedAt >= JUDGE_MS) {
      this.#judgedAt = now;
      this.review();
    }
    const ids = this.ids;
    for (const [id, { active }] of this.#dialling) {
      if (ids.includes(id)) continue;
      active?.();
      this.#dialling.delete(id);
    }
    for (const id of ids) {
      const url = this.#options.urlOf(id);
      if (this.link(id) !== undefined || url === undefined) continue;
      const dialling = this.#dialling.get(id) ?? { failures: 0, nextAt: now, reason: '', active: undefined };
      this.#dialling.set(id, dialling);
      if (dialling.active === undefined && now >= dialling.nextAt) this.#dial(id, url, dialling);
    }
  }

  #dial(neighbour: string, url: string, dialling: Dialling): void {
    const agent = new Agent({ ...this.#identity.clientOptions(neighbour), maxCachedSessions: 0 });
    const socket = io(url, {
      ...V2E_TRANSPORT,
      path: NEIGHBOUR_PATH,
      agent: agent as unknown as string,
      perMessageDeflate: false as unknown as { threshold: number },
      auth: { versions: [NEIGHBOUR_VERSION] },
      ...{ forceNew: true, autoConnect: false, reconnection: false, timeout: CONNECT_TIMEOUT_MS },
    });
    const end = (reason: string) => {
      if (dialling.active === undefined) return;
      dialling.active = undefined;
      dialling.failures++;
      dialling.reason = reason;
      dialling.nextAt = performance.now() + backOffMs(dialling.failures, BACK_OFF) * (0.75 + Math.random() / 2);
      socket.disconnect();
      agent.destroy();
    };
    dialling.active = () => end('stopped');
    const transport = () => socket.io.engine?.transport as unknown as { ws?: { _socket?: TLSSocket } } | undefined;
    socket.on('connect', () => {
      const connection = transport()?.ws?._socket;
      dialling.failures = 0;
      if (connection === undefined) return end('its certificate cannot be read');
      this.#add(neighbour, this.#self, socket, connection, transport);
    });
    socket.on('connect_error', (error) => end(describeConnectError(error)));
    socket.on('disconnect', (reason) => end(`the connection was lost: ${reason}`));
    socket.connect();
  }
}

const NO_ADDRESS =
  'its address is not known: give --neighbour ID=URL, let it announce itself on this link, or wait until it connects';

function notANeighbour(id: string): KerbError {
  return new KerbError(ErrorCode.Unauthenticated, `broker ${id} is not a neighbour in the policy of this broker`);
}
