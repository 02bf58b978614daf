import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { quoted } from '../../shared/base/quoted.ts';
import type { Principal } from '../../shared/identity/identity.ts';
import type { DrainRequest } from '../offloads/drain.ts';

/** When the request does not say how long, in milliseconds. */
const DEFAULT_FOR_MS = 30_000;
/** A day. */
const MAX_FOR_MS = 86_400_000;
const MAX_BROKERS = 32;
/** An id as in a certificate, or "https://HOST:PORT": no spaces, which stand in sentences and in log lines. */
const BROKER = /^[\x21-\x7e]{1,256}$/;

/** The body of `POST /v1/drain`: `{ "forMs": N, "to": ["ID", …] }`, each may be left out. @throws KerbError BadControlRequest */
export function drainRequest(body: Buffer): Omit<DrainRequest, 'by'> {
  const fields = fieldsOf(body);
  const unknown = Object.keys(fields).find((key) => key !== 'forMs' && key !== 'to');
  if (unknown !== undefined) throw bad(`${quoted(unknown, 50)} is not a key of it: there are forMs and to`);
  const { forMs = DEFAULT_FOR_MS, to = [] } = fields;
  if (typeof forMs !== 'number' || !(forMs >= 0 && forMs <= MAX_FOR_MS)) {
    throw bad(`forMs must be milliseconds, 0 to ${MAX_FOR_MS}`);
  }
  if (!isList(to)) throw bad(`to must be a list of at most ${MAX_BROKERS} ids or addresses of brokers`);
  return { forMs, to };
}

/** Names the caller, for events and the audit log. */
export function nameOf(caller: Principal | undefined): string {
  return caller === undefined ? 'control socket' : `${caller.kind} ${caller.id}`;
}

function fieldsOf(body: Buffer): Record<string, unknown> {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // Said below.
  }
  throw bad('the body must be { "forMs": …, "to": [ … ] }');
}

function isList(value: unknown): value is string[] {
  if (!Array.isArray(value) || value.length > MAX_BROKERS) return false;
  return value.every((one) => typeof one === 'string' && BROKER.test(one));
}

function bad(what: string): KerbError {
  return new KerbError(ErrorCode.BadControlRequest, `not a valid request to drain: ${what}`);
}
