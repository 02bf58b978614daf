/** As many as are done before the event loop looks at the network again. */
const AT_ONCE = 25;

/** Does something with each of what may be thousands, and lets others have their turn in between. */
export function eachInTurns<T>(all: Iterable<T>, act: (one: T) => void): void {
  const left = [...all];
  const next = () => {
    for (const one of left.splice(0, AT_ONCE)) act(one);
    if (left.length > 0) setImmediate(next);
  };
  next();
}
