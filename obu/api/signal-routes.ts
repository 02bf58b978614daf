import { type ControlRoutes, jsonReply, linesReply } from '../../shared/api/control-routes.ts';
import type { SignalReading } from '../../shared/api/obu.ts';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import { pathMatcher } from '../signals/expand-paths.ts';
import type { SignalSource, SignalValue } from '../signals/signal.ts';
import type { PartsOf } from './parts.ts';
import { isFollowed } from './query.ts';

/** Values that wait for somebody who follows and reads slowly; the oldest go. */
const MAX_WAITING = 1000;

export function signalRoutes(parts: PartsOf): ControlRoutes {
  return {
    'GET /v1/signals': ({ query, signal }) => {
      const { signals } = parts();
      const leaves = leavesOf(signals, query.getAll('path'));
      if (isFollowed(query)) return linesReply(follow(signals, leaves, signal));
      return jsonReply(leaves.map((path) => readingOf(path, signals.get(path))));
    },
  };
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
  const waiting: SignalValue[] = [];
  let wake = () => {};
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  const end = signals.subscribe(new Set(leaves), (values) => {
    waiting.push(...values);
    if (waiting.length > MAX_WAITING) waiting.splice(0, waiting.length - MAX_WAITING);
    wake();
  });
  try {
    while (!signal.aborted) {
      const value = waiting.shift();
      if (value !== undefined) yield readingOf(value.path, value);
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    end();
    signal.removeEventListener('abort', onAbort);
  }
}

function readingOf(path: string, value: SignalValue | undefined): SignalReading {
  if (value === undefined) return { path, value: null, time: '', source: '', stale: false };
  const time = new Date(value.timeUs / 1000).toISOString();
  return { path, value: value.value, time, source: value.source, stale: false };
}
