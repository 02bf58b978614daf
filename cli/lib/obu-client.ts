import { join } from 'node:path';
import type { Command } from 'commander';
import { type ControlCall, type ControlTarget, callControl, streamControl } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { runtimeFolder } from '../../shared/host/runtime-folder.ts';

export interface ApiOptions {
  /** Path of a socket, or https://HOST:PORT. */
  readonly api: string;
  readonly identity?: string;
}

/** The options that say which OBU a command is for. */
export function withApi(command: Command): Command {
  return command
    .option('--api <where>', 'control socket of the OBU, or https://HOST:PORT', join(runtimeFolder(), 'obu.sock'))
    .option('--identity <dir>', 'with https: certificate.pem, key.pem and ca.pem of an operator or of the vehicle');
}

/** Longest line that an OBU may send, in characters. */
const MAX_LINE = 1024 * 1024;

/** Calls to a running OBU. */
export class ObuClient {
  readonly #target: ControlTarget;
  readonly #api: string;

  constructor(target: ControlTarget, api: string) {
    this.#target = target;
    this.#api = api;
  }

  /**
   * @throws KerbError BadConfig when the OBU is somewhere else, where its engine and files cannot be reached from here
   */
  mustBeHere(what: string): void {
    if (typeof this.#target === 'string') return;
    throw new KerbError(
      ErrorCode.BadConfig,
      `${what} where the OBU is, over its control socket, not over ${this.#api}`,
    );
  }

  /** @throws KerbError ApiUnavailable that says what to do when no OBU is there at all */
  status(): Promise<ObuStatus> {
    return this.ask('/v1/status');
  }

  /** One call that answers with JSON. @throws KerbError as above; the OBU's own error when it sent one */
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
      throw this.#explained(error);
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
      throw this.#explained(error);
    }
  }

  #explained(error: unknown): unknown {
    if (!isKerbError(error, ErrorCode.ApiUnavailable)) return error;
    const { cause } = error;
    const isAbsent = isErrno(cause, 'ENOENT') || isErrno(cause, 'ECONNREFUSED');
    const api = this.#api;
    if (typeof this.#target === 'string') {
      if (!isAbsent) return error;
      const message = `no OBU runs at ${api} (${cause.code}); start one with kerb obu serve, or name its socket with --api: npm start has it at .kerbside/run/obu.sock`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    if (isAbsent) {
      const message = `no OBU answers at ${api} (${cause.code}); does its configuration have \`api\` with this address?`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    if (isErrno(cause) && /^ERR_SSL|CERT|SELF_SIGNED|ECONNRESET/.test(cause.code ?? '')) {
      const message = `the OBU at ${api} and this identity do not accept each other (${cause.code}); both have to come from the same authority, and the vehicle's certificate from this version of kerb pki vehicle`;
      return new KerbError(error.code, message, { api }, { cause: error });
    }
    return error;
  }
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

/** @throws KerbError BadConfig | BadIdentity */
export async function connectObu({ api, identity }: ApiOptions): Promise<ObuClient> {
  if (!/^[a-z]+:\/\//i.test(api)) return new ObuClient(api, api);
  const url = URL.parse(api);
  if (url === null || url.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new KerbError(ErrorCode.BadConfig, `--api ${api}: give the path of a socket, or https://HOST:PORT`, { api });
  }
  if (identity === undefined) {
    throw new KerbError(ErrorCode.BadConfig, `--api ${api} needs --identity DIR, a folder made by kerb pki operator`);
  }
  const { loadIdentity } = await import('../../shared/identity/x509-identity.ts');
  const mine = await loadIdentity(identity, ['operator', 'vehicle']);
  // A vehicle's identity accepts only that vehicle; an operator's any vehicle of its authority.
  const tls = mine.clientOptions(mine.self.kind === 'vehicle' ? mine.self.id : undefined, 'vehicle');
  return new ObuClient({ url, tls }, url.origin);
}
