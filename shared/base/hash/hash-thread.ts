/** The thread that hashes what is too large for the event loop: see sha256.ts. */
import { createHash, type Hash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';

export interface HashRequest {
  readonly job: number;
  /** Which block holds the next bytes of it, and how many; -1: none. */
  readonly block: number;
  readonly length: number;
  /** `digest`: this was all of it. `forget`: it is not wanted any more. */
  readonly next: 'more' | 'digest' | 'forget';
}

export interface HashReply {
  readonly job: number;
  readonly block: number;
  readonly digest: Uint8Array | undefined;
}

// Set-up loads every source once, for Node's compile cache: outside of a thread there is no port.
const { memory, blockSize } = (workerData ?? {}) as { readonly memory: SharedArrayBuffer; readonly blockSize: number };
const jobs = new Map<number, Hash>();

parentPort?.on('message', ({ job, block, length, next }: HashRequest) => {
  const hash = jobs.get(job) ?? createHash('sha256');
  if (block >= 0) hash.update(new Uint8Array(memory, block * blockSize, length));
  if (next === 'more') jobs.set(job, hash);
  else jobs.delete(job);
  const reply: HashReply = { job, block, digest: next === 'digest' ? hash.digest() : undefined };
  parentPort?.postMessage(reply);
});
