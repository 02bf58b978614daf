import { steadyOf } from '../../shared/clock.ts';

/** The engine writes year 1 for "never". */
const parse = (text: string): number => Math.max(0, Date.parse(text) || 0);

/**
 * The engine stamps starts and ends with the wall clock, which is set while a car drives. Each stamp is put on the steady
 * clock when it is seen for the first time, by how long ago it is then; from there on it does not move, whatever the wall
 * clock does.
 */
export class SteadyTimes {
  readonly #known = new Map<string, { readonly text: string; readonly ms: number }>();

  /** @param what of which container, and which of its stamps. @returns milliseconds of the steady clock; 0 for "never" */
  of(what: string, text: string): number {
    const known = this.#known.get(what);
    if (known?.text === text) return known.ms;
    const wallMs = parse(text);
    const ms = wallMs === 0 ? 0 : Math.round(steadyOf(wallMs));
    this.#known.set(what, { text, ms });
    return ms;
  }

  /** Forgets the others. */
  keep(ids: ReadonlySet<string>): void {
    for (const what of this.#known.keys()) if (!ids.has(what.split(' ')[0]!)) this.#known.delete(what);
  }
}
