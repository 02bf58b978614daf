/**
 * The three functions of the Reflect metadata proposal that @peculiar/x509 needs through tsyringe, which refuses to load
 * without them. Imported before it, and adds nothing where a complete implementation is loaded already.
 */
type Metadata = Map<unknown, unknown>;

const byTarget = new WeakMap<object, Metadata>();

const functions = {
  defineMetadata(key: unknown, value: unknown, target: object): void {
    const own = byTarget.get(target) ?? new Map();
    byTarget.set(target, own.set(key, value));
  },
  getOwnMetadata(key: unknown, target: object): unknown {
    return byTarget.get(target)?.get(key);
  },
  getMetadata(key: unknown, target: object): unknown {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      const own = byTarget.get(at);
      if (own?.has(key)) return own.get(key);
    }
    return undefined;
  },
};

if (!('getMetadata' in Reflect)) Object.assign(Reflect, functions);
