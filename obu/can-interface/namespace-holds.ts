/**
 * Keeps the network namespaces of containers for a moment after their last process: what the kernel has counted at their
 * interfaces is gone with them, and a container that sends something and ends would leave no trace of it.
 */
import { closeSync, openSync } from 'node:fs';
import { readText } from './net-tools.ts';

interface Hold {
  readonly file: number;
  readonly isRunning: () => boolean;
}

export class NamespaceHolds {
  readonly #holds = new Map<string, Hold>();

  /**
   * @param container Its id, which names its control group.
   * @param pid Of its first process.
   */
  hold(container: string, pid: number): void {
    if (this.#holds.has(container)) return;
    try {
      const file = openSync(`/proc/${pid}/ns/net`, 'r');
      const isRunning = () => readText(`/proc/${pid}/cgroup`).includes(container);
      this.#holds.set(container, { file, isRunning });
    } catch {
      // It has ended, or this OBU may not look into it (no CAP_SYS_PTRACE): then it goes as it would without us.
    }
  }

  /** Containers that have ended since they are held. */
  ended(): string[] {
    return [...this.#holds].filter(([, { isRunning }]) => !isRunning()).map(([container]) => container);
  }

  release(container: string): void {
    const hold = this.#holds.get(container);
    if (hold === undefined) return;
    this.#holds.delete(container);
    closeSync(hold.file);
  }

  releaseAll(): void {
    for (const container of [...this.#holds.keys()]) this.release(container);
  }
}
