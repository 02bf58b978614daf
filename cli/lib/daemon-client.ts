import { type ControlCall, type ControlTarget, callControl, streamControl } from '../../shared/api/control-client.ts';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';

export type DaemonKind = 'obu' | 'broker';

export interface ApiAddress {
  /** Path of a socket, or https://HOST:PORT. */
  readonly api: string;
  readonly identity?: string;
}

const nameOfKind = { obu: 'OBU', broker: 'broker' } as const;
const article = { obu: 'an OBU', broker: 'a broker' } as const;

const WORDS = {
  obu: {
    start: 'start one with kerb obu serve, or name its socket with --api: npm start has it at .kerbside/run/obu.sock',
    listen: 'does its configuration have `api` with this address?',
    certificates:
      "both have to come from the same authority, and the vehicle's certificate from this version of kerb pki vehicle",
    verbs: 'use kerb status, kerb top or kerb obu get with it',
  },
  broker: {
    start: 'start one with kerb broker serve, or name its socket with --api',
    listen: 'was it started with --api-listen and this address?',
    certificates: 'both have to come from the same authority, and the identity from kerb pki operator',
    verbs: 'use kerb broker status, kerb broker top or kerb broker get with it',
  },
} as const;

/** Longest line that a daemon may send, in characters. */
const MAX_LINE = 1024 * 1024;

/** Calls to a running daemon of one kind. */
export class DaemonClient<Status> {
  readonly #kind: DaemonKind;
  readonly #target: ControlTarget;
  readonly #api: string;

  constructor(kind: DaemonKind, target: ControlTarget, api: string) {
    this.#kind = kind;
    this.#target = target;
    this.#api = api;
  }

  /**
   * @throws KerbError BadConfig when the daemon is somewhere else, where its engine and files cannot be reached from here
   */
  mustBeHere(what: string): void {
    if (typeof this.#target === 'string') return;
    throw new KerbError(
      ErrorCode.BadConfig,
      `${what} where the ${nameOfKind[this.#kind]} is, over its control socket, not over ${this.#api}`,
    );
  }

  /** @throws KerbError ApiUnavailable that says what to do when no such daemon is there at all, or one of another kind */
  async status(): Promise<Status> {
    const status = await this.ask<object>('/v1/status');
    const other = otherKind(this.#kind, status);
    if (other !== undefined) throw this.#wrongKind(other);
    return status as Status;
  }

  /** One call that answers with JSON. @throws KerbError as above; the daemon's own error when it sent one */
  async ask<Reply>(path: string, call?: ControlCall): Promise<Reply> {
    const body = await this.bytes(path, call);
    try {
      return JSON.parse(body.toString('utf8')) as Reply;
    } catch (error) {
      throw noJson(this.#api, error);
    }
  }

  /** One call that answers with anything. @throws KerbError as above */
  async bytes(path: string, call?: ControlCall): Promise<Buffer> {
    try {
      return await callControl(this.#target, path, call);
    } catch (error) {
      throw await this.#explained(error);
    }
  }

  /**
   * JSON values, one in each line, as they come. Ends without an error when `signal` fires. @throws KerbError as above
   */
  async *follow<Item>(path: string, signal: AbortSignal): AsyncGenerator<Item> {
    let rest = '';
    const decoder = new TextDecoder();
    try {
      for await (const chunk of streamControl(this.#target, path, { timeoutMs: 0, signal })) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
        rest = lines.pop()!;
        if (rest.length > MAX_LINE) throw noJson(this.#api, 'a line does not end');
        for (const line of lines) yield parseLine<Item>(line, this.#api);
      }
    } catch (error) {
      if (signal.aborted) return;
      throw await this.#explained(error);
    }
  }

  async #explained(error: unknown): Promise<unknown> {
    if (!isKerbError(error, ErrorCode.ApiUnavailable)) return error;
    if (error.context.status === 404) return (await this.#foundWrongKind()) ?? error;
    const { cause } = error;
    const isAbsent = isErrno(cause, 'ENOENT') || isErrno(cause, 'ECONNREFUSED');
    const api = this.#api;
    const words = WORDS[this.#kind];
    const name = nameOfKind[this.#kind];
    if (typeof this.#target === 'string') {
      if (!isAbsent) return error;
      const message = `no ${name} runs at ${api} (${cause.code}); ${words.start}`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    if (isAbsent) {
      const message = `no ${name} answers at ${api} (${cause.code}); ${words.listen}`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    if (isErrno(cause) && /^ERR_SSL|CERT|SELF_SIGNED|ECONNRESET/.test(cause.code ?? '')) {
      const message = `the ${name} at ${api} and this identity do not accept each other (${cause.code}); ${words.certificates}`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    return error;
  }

  /** A route that is missing may be one of the other kind of daemon. */
  async #foundWrongKind(): Promise<KerbError | undefined> {
    try {
      const status: unknown = JSON.parse((await callControl(this.#target, '/v1/status')).toString('utf8'));
      const other = otherKind(this.#kind, status);
      return other && this.#wrongKind(other);
    } catch {
      return undefined;
    }
  }

  #wrongKind({ kind, id }: OtherDaemon): KerbError {
    const message = `${this.#api} is of ${nameOfKind[kind]} ${id}, not of ${article[this.#kind]}; ${WORDS[kind].verbs}`;
    return new KerbError(ErrorCode.ApiUnavailable, message, { api: this.#api, [kind]: id });
  }
}

interface OtherDaemon {
  readonly kind: DaemonKind;
  readonly id: string;
}

/** Whose status it is, when it is of another kind of daemon than `wanted`. */
function otherKind(wanted: DaemonKind, status: unknown): OtherDaemon | undefined {
  const kind = wanted === 'obu' ? 'broker' : 'obu';
  const fields = (typeof status === 'object' && status !== null ? status : {}) as Record<string, unknown>;
  return typeof fields[kind] === 'string' && fields[wanted] === undefined ? { kind, id: fields[kind] } : undefined;
}

function parseLine<Item>(line: string, api: string): Item {
  try {
    return JSON.parse(line) as Item;
  } catch (error) {
    throw noJson(api, error);
  }
}

function noJson(api: string, why: unknown): KerbError {
  return new KerbError(ErrorCode.ApiUnavailable, `${api} did not answer with JSON: ${messageOf(why)}`, { api });
}

/**
 * @throws KerbError BadConfig | BadIdentity
 */
export async function connectDaemon<Status>(
  kind: DaemonKind,
  { api, identity }: ApiAddress,
): Promise<DaemonClient<Status>> {
  if (!/^[a-z]+:\/\//i.test(api)) return new DaemonClient(kind, api, api);
  const url = URL.parse(api);
  if (url === null || url.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new KerbError(ErrorCode.BadConfig, `--api ${api}: give the path of a socket, or https://HOST:PORT`, { api });
  }
  if (identity === undefined) {
    throw new KerbError(ErrorCode.BadConfig, `--api ${api} needs --identity DIR, a folder made by kerb pki operator`);
  }
  const { loadIdentity } = await import('../../shared/identity/x509-identity.ts');
  const mine = await loadIdentity(identity, kind === 'obu' ? ['operator', 'vehicle'] : 'operator');
  // A vehicle's identity accepts only that vehicle; an operator's any daemon of its authority.
  const expected = mine.self.kind === 'vehicle' ? mine.self.id : undefined;
  const tls = mine.clientOptions(expected, kind === 'obu' ? 'vehicle' : 'broker');
  return new DaemonClient(kind, { url, tls }, url.origin);
}
