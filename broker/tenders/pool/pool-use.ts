import type { CallUse } from '../process/tender.ts';

/** The calls of one pool and what they took, all together. */
export class PoolUse {
  calls = 0;
  /** Milliseconds that they have computed. */
  cpuMs = 0;
  /** Bytes of its own memory that the call with the most of it had in use. */
  peakMemory = 0;

  add({ cpuMs, peakMemory }: CallUse): void {
    this.cpuMs += cpuMs;
    this.peakMemory = Math.max(this.peakMemory, peakMemory);
  }
}
