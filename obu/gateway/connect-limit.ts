/** Connections that a container may open one after the other, and how many more it may each second from then on. */
export const CONNECT_BURST = 50;
export const CONNECTS_PER_SECOND = 10;

/** Keeps a container that connects and disconnects in a loop from keeping the OBU busy with it. */
export class ConnectLimit {
  #left = CONNECT_BURST;
  #countedMs = 0;

  /** Whether one more may be opened now. */
  take(nowMs: number = performance.now()): boolean {
    this.#left = Math.min(CONNECT_BURST, this.#left + ((nowMs - this.#countedMs) / 1000) * CONNECTS_PER_SECOND);
    this.#countedMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
