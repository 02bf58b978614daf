import { type ControlRoutes, jsonReply, linesReply } from '../../shared/api/control-routes.ts';
import type { SignalReading, SignalSetReply } from '../../shared/api/obu.ts';
import { isFollowed, wholeNumber } from '../../shared/api/query.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { parseExact, parseJsonExactly, toJsonValue } from '../../shared/base/exact.ts';
import { newestItems } from '../../shared/base/newest-items.ts';
import { inFormOf } from '../../shared/vss/datatype.ts';
import { pathMatcher } from '../../shared/vss/expand-paths.ts';
import type { LeafValue, SignalDatum, SignalSource, SignalValue, VehicleSignals } from '../../shared/vss/signal.ts';
import { isListType, isListValue, itemType } from '../../shared/vss/signal-list.ts';
import type { SignalStore } from '../signals/signal-store.ts';
import type { PartsOf } from './parts.ts';

/** Values that wait for somebody who follows and reads slowly; the oldest go. */
const MAX_WAITING = 1000;

export function signalRoutes(parts: PartsOf): ControlRoutes {
  return {
    'GET /v1/signals': ({ query, signal }) => {
      const { signals } = parts();
      const leaves = leavesOf(signals, query.getAll('path'));
      if (isFollowed(query)) return linesReply(follow(signals, leaves, signal));
      return jsonReply(
        leaves.map((path) => withReason(readingOf(path, signals.get(path), signals.ageMs(path)), signals)),
      );
    },
    'POST /v1/signals/:path': async ({ params, query, body }) => {
      const { signals, events } = parts();
      const path = params.path!;
      const value = targetOf(signals, path, body);
      const timeoutMs = wholeNumber(query, 'timeoutMs', 0);
      signals.checkActuation(path, value);
      const done = signals.actuate(path, value, timeoutMs);
      if (query.get('wait') !== '0') return jsonReply(setReply(path, await done));
      // No caller waits for it, so its failure is reported elsewhere.
      done.catch((error: unknown) => events.add('signal', path, 'NotSet', messageOf(error)));
      return jsonReply(setReply(path, undefined));
    },
  };
}

function setReply(path: string, acknowledged: SignalValue | undefined): SignalSetReply {
  return { path, acknowledged: acknowledged && readingOf(path, acknowledged) };
}

/**
 * The value of a body `{ "value": … }`; a text becomes what the datatype of the leaf wants, where it can.
 * @throws KerbError BadControlRequest
 */
function targetOf(signals: VehicleSignals, path: string, body: Buffer): LeafValue {
  let value: unknown;
  try {
    ({ value } = (parseJsonExactly(body.toString('utf8')) ?? {}) as { value?: unknown });
  } catch {
    // Not JSON: there is no value.
  }
  const datatype = signals.info(path)?.datatype ?? 'string';
  if (isListType(datatype)) return listOf(value).map((one) => targetDatum(itemType(datatype), one));
  if (!isDatum(value)) {
    throw new KerbError(ErrorCode.BadControlRequest, 'the body has to be { "value": a number, a text, true or false }');
  }
  return targetDatum(datatype, value);
}

function targetDatum(datatype: string, value: SignalDatum): SignalDatum {
  if (typeof value !== 'string' || datatype === 'string') return inFormOf(datatype, value);
  if (datatype === 'boolean') return value === 'true' ? true : value === 'false' ? false : value;
  const number = parseExact(value);
  return Number.isNaN(number) ? value : inFormOf(datatype, number);
}

function isDatum(value: unknown): value is SignalDatum {
  return ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
}

/** A list, also as a text that is one in JSON. @throws KerbError BadControlRequest */
function listOf(value: unknown): readonly SignalDatum[] {
  let list = value;
  try {
    if (typeof value === 'string') list = parseJsonExactly(value);
  } catch {
    // Not JSON: there is no list.
  }
  if (Array.isArray(list) && list.every(isDatum)) return list;
  throw new KerbError(ErrorCode.BadControlRequest, 'the value has to be a list in JSON, such as [1, 2] or ["a", "b"]');
}

/** The leaves that these paths mean; all when there are none. @throws KerbError UnknownSignal */
function leavesOf(signals: SignalSource, paths: readonly string[]): readonly string[] {
  const all = signals.paths();
  if (paths.length === 0) return all;
  const leaves = paths.flatMap((path) => {
    const found = all.filter(pathMatcher(path));
    if (found.length > 0) return found;
    const message = `this OBU has no signal "${path}"; kerb obu get signals lists those that it has`;
    throw new KerbError(ErrorCode.UnknownSignal, message, { path });
  });
  return [...new Set(leaves)];
}

async function* follow(
  signals: SignalSource,
  leaves: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<SignalReading> {
  const subscribe = (push: (values: readonly SignalValue[]) => void) => signals.subscribe(new Set(leaves), push);
  for await (const value of newestItems({ subscribe, mostWaiting: MAX_WAITING }, signal)) {
    yield readingOf(value.path, value);
  }
}

function readingOf(path: string, value: SignalValue | undefined, ageMs?: number): SignalReading {
  if (value === undefined) return { path, value: null, time: '', source: '', stale: false };
  const time = new Date(value.timeUs / 1000).toISOString();
  const age = ageMs === undefined ? {} : { ageMs: Math.round(ageMs) };
  return { path, value: jsonOf(value.value), time, ...age, source: value.source, stale: value.stale };
}

function jsonOf(value: LeafValue): SignalReading['value'] {
  return isListValue(value) ? value.map((one) => toJsonValue(one)) : toJsonValue(value);
}

function withReason(reading: SignalReading, signals: SignalStore): SignalReading {
  const reason = signals.whyNone(reading.path);
  return reason === '' ? reading : { ...reading, reason };
}
