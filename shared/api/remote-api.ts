/** Serves the control API of a daemon over TLS, when its configuration asks for it. */
import { messageOf } from '../base/errors.ts';
import type { ListenAddress } from '../host/listen.ts';
import type { Identity } from '../identity/identity.ts';
import type { IdentitySource } from '../identity/identity-watch.ts';
import { TlsControlServer, type TlsControlServerOptions } from './tls-control-server.ts';

/** After it could not listen: an address of a modem may come later than the daemon. */
const RETRY_MS = 5000;

export interface RemoteApiOptions extends Omit<TlsControlServerOptions, 'identity'> {
  readonly identity: IdentitySource;
  /** It cannot listen, and tries again; told once for each reason. */
  readonly onFault: (reason: string) => void;
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

  /** That it listens on; undefined while it does not. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  get status(): { readonly listen: string; readonly listening: boolean; readonly reason: string } {
    const { host, port } = this.#options.listen;
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
    const { listen, onFault, log } = this.#options;
    this.#server ??= new TlsControlServer({ ...this.#options, identity });
    try {
      await this.#server.start();
      this.#trouble = '';
      log.info(
        { url: `https://${addressOf({ host: listen.host, port: this.#server.port! })}` },
        'serving the API over TLS',
      );
    } catch (error) {
      await this.#server.stop();
      if (this.#stopped) return;
      const message = messageOf(error);
      if (message !== this.#trouble) onFault(message);
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
