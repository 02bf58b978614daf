import { steadyOf } from '../../../shared/base/clock.ts';

/** The engine writes year 1 for "never". */
const parse = (text: string): number => Math.max(0, Date.parse(text) || 0);

/**
 * The engine stamps starts and ends with the wall clock, which is set while a car drives. Each stamp is put on the steady
 * clock when it is seen for the first time, by how long ago it is then; from there on it does not move, whatever the wall
 * clock does.
 */
export class SteadyTimes {
  /** By container, then by which of its stamps. */
  readonly #known = new Map<string, Map<string, { readonly text: string; readonly ms: number }>>();

  /**
   * @param id of the container
   * @param which of its stamps
   * @returns milliseconds of the steady clock; 0 for "never"
   */
  of(id: string, which: 'start' | 'end', text: string): number {
    const stamps = this.#known.get(id) ?? new Map();
    this.#known.set(id, stamps);
    const known = stamps.get(which);
    if (known?.text === text) return known.ms;
    const wallMs = parse(text);
    // Rounded down: a stamp of now is not later than now.
    const ms = wallMs === 0 ? 0 : Math.floor(steadyOf(wallMs));
    stamps.set(which, { text, ms });
    return ms;
  }

  /** The container is gone. */
  forget(id: string): void {
    this.#known.delete(id);
  }
}
