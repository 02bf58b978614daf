import type { StateUse } from './state-types.ts';

/** Of a tenant; kept in memory, and counted anew when the database is opened. */
type Use = { -readonly [Key in keyof StateUse]: StateUse[Key] };

const NONE: StateUse = { keys: 0, outputs: 0, bytes: 0 };

/** How much each tenant keeps. */
export class StateUsage {
  readonly #use = new Map<string, Use>();
  /** Of all tenants. */
  bytes = 0;
  /** Tenants whose use has changed since this was emptied. */
  readonly changed = new Set<string>();

  of(tenant: string): StateUse {
    return this.#use.get(tenant) ?? NONE;
  }

  add(tenant: string, { keys = 0, outputs = 0, bytes = 0 }: Partial<StateUse>): void {
    let use = this.#use.get(tenant);
    if (use === undefined) {
      use = { ...NONE };
      this.#use.set(tenant, use);
    }
    use.keys += keys;
    use.outputs += outputs;
    use.bytes += bytes;
    this.bytes += bytes;
    this.changed.add(tenant);
    if (use.keys === 0 && use.outputs === 0) this.#use.delete(tenant);
  }

  clear(): void {
    for (const name of this.#use.keys()) this.changed.add(name);
    this.#use.clear();
    this.bytes = 0;
  }

  /** The use of each tenant; of all of them, or of those that have changed. */
  list(all: boolean): Map<string, StateUse> {
    const names = all ? this.#use.keys() : this.changed;
    return new Map([...names].map((name) => [name, { ...this.of(name) }]));
  }
}
