import type { ServerWritableStream } from '@grpc/grpc-js';
import type { SignalValue } from '../../../shared/vss/signal.ts';
import type { KuksaSignals } from './signals.ts';
import { Subscriber, type SubscriberOptions } from './subscriber.ts';
import { toDatapoint } from './values.ts';

/** Longest time that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface SubscriptionOptions extends SubscriberOptions {
  readonly call: ServerWritableStream<unknown, object>;
  /** What stands for a path in the messages: itself, or its number. */
  readonly keyOf: (path: string) => string | number;
  /** The call ends after this time; 0: never. */
  readonly durationMs: number;
}

/**
 * Writes the values of these leaves to a call: all at once, none where there is none, then what comes.
 * @returns the function that ends it
 */
export function subscribe(
  { source }: KuksaSignals,
  leaves: ReadonlySet<string>,
  options: SubscriptionOptions,
): () => void {
  const { call, keyOf, durationMs } = options;
  const known = new Map([...leaves].map((path) => [path, { key: keyOf(path), info: source.info(path)! }]));
  const write = (values: readonly (readonly [string, SignalValue | undefined])[]) => {
    const entries = values.map(([path, now]) => {
      const { key, info } = known.get(path)!;
      return [key, toDatapoint(info, now)];
    });
    return call.write({ entries: Object.fromEntries(entries) });
  };
  const subscriber = new Subscriber({ write: (values) => write(values.map((value) => [value.path, value])) }, options);
  write([...leaves].map((path) => [path, source.get(path)]));
  // What is known was said just now; the tree says it again before `subscribe` returns.
  let isFirst = true;
  const unsubscribe = source.subscribe(leaves, (values) => {
    if (!isFirst) subscriber.push(values);
  });
  isFirst = false;
  call.on('drain', subscriber.drained);
  const timer = durationMs > 0 ? setTimeout(() => call.end(), Math.min(durationMs, MAX_TIMER_MS)) : undefined;
  return () => {
    clearTimeout(timer);
    unsubscribe();
    subscriber.end();
  };
}
