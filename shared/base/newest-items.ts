export interface Source<Item> {
  /** Begins to give items to `push`; the result ends that. */
  readonly subscribe: (push: (items: readonly Item[]) => void) => () => void;
  /** So many wait to be read; of more the oldest are dropped. */
  readonly mostWaiting: number;
  /** Comes before what is pushed; as much as there is. */
  readonly first?: readonly Item[];
}

/** The items of a source as they come, until `signal` fires. Whoever reads slowly misses the oldest. */
export async function* newestItems<Item>(source: Source<Item>, signal: AbortSignal): AsyncGenerator<Item> {
  const { subscribe, mostWaiting, first = [] } = source;
  const waiting = [...first];
  let wake = () => {};
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  const unsubscribe = subscribe((items) => {
    waiting.push(...items);
    if (waiting.length > mostWaiting) waiting.splice(0, waiting.length - mostWaiting);
    wake();
  });
  try {
    while (!signal.aborted) {
      const item = waiting.shift();
      if (item !== undefined) yield item;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}
