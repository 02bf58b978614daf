/** Serves the control API of an OBU over TLS, when its configuration asks for it. */
import type { ControlRoutes } from '../../shared/api/control-routes.ts';
import { TlsControlServer } from '../../shared/api/tls-control-server.ts';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { ListenAddress } from '../../shared/host/listen.ts';
import type { Identity, Principal } from '../../shared/identity/identity.ts';
import type { IdentitySource } from '../../shared/identity/identity-watch.ts';
import type { ObuConfig } from '../config/config.ts';
import type { Report } from '../telemetry/report.ts';

/** After it could not listen: an address of a modem may come later than the OBU. */
const RETRY_MS = 5000;

export interface RemoteApiOptions {
  readonly api: NonNullable<ObuConfig['api']>;
  readonly vehicle: string;
  readonly identity: IdentitySource;
  readonly routes: ControlRoutes;
  readonly report: Report;
  readonly log: Logger;
}

/**
 * The API for those who are elsewhere. It waits for an identity and for its address, and holds up nobody: what is local
 * is served on the control socket.
 */
export class RemoteApi {
  readonly #options: RemoteApiOptions;
  #unfollow: (() => void) | undefined;
  #server: TlsControlServer | undefined;
  #starting: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;
  #trouble = '';

  constructor(options: RemoteApiOptions) {
    this.#options = options;
  }

  get status(): { readonly listen: string; readonly listening: boolean; readonly reason: string } {
    const { host, port } = this.#options.api.listen;
    const listening = this.#server?.port !== undefined;
    const reason = listening ? '' : this.#trouble || this.#options.identity.trouble || 'starting';
    return { listen: addressOf({ host, port: this.#server?.port ?? port }), listening, reason };
  }

  /** Begins; returns at once. */
  start(): void {
    this.#unfollow = this.#options.identity.follow((identity) => {
      if (this.#server === undefined) this.#starting = this.#listen(identity);
      else this.#server.renew(identity);
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unfollow?.();
    clearTimeout(this.#retry);
    await this.#server?.stop();
    await this.#starting;
  }

  async #listen(identity: Identity): Promise<void> {
    const { api, vehicle, routes, report, log } = this.#options;
    const mayCall = (caller: Principal) => mayOperate(caller, vehicle, api.operators);
    this.#server ??= new TlsControlServer({ listen: api.listen, identity, mayCall, routes, log });
    try {
      await this.#server.start();
      this.#trouble = '';
      log.info({ url: `https://${api.listen.host}:${this.#server.port}` }, 'serving the API over TLS');
    } catch (error) {
      await this.#server.stop();
      if (this.#stopped) return;
      const message = messageOf(error);
      if (message !== this.#trouble) report({ event: 'remote-api-fault', reason: message });
      this.#trouble = message;
      this.#retry = setTimeout(() => {
        this.#starting = this.#listen(identity);
      }, RETRY_MS);
    }
  }
}

function addressOf({ host, port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The vehicle itself, which is its other OBUs and who works on it with its identity, and operators that it names. */
export function mayOperate({ kind, id }: Principal, vehicle: string, operators: readonly string[]): boolean {
  switch (kind) {
    case 'vehicle':
      return id === vehicle;
    case 'operator':
      return operators.includes(id);
    case 'broker':
      return false;
  }
}
