/**
 * SHA-256 of what is large, beside the event loop. Bytes are copied into blocks of shared memory, which a thread hashes: for
 * 1 MiB the event loop spends 70 µs in steps of 40 where hashing takes 780 (AMD EPYC). `crypto.subtle` copies all of it at
 * once into fresh memory: 1.4 ms for 1 MiB, 20 ms for 16. Up to `IN_STEPS` bytes the way to the thread and back, which on a
 * busy machine is two waits for a processor, costs more than it saves: they are hashed here, in steps of `AT_ONCE`.
 */
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { HashReply, HashRequest } from './hash-thread.ts';

/** Bytes that are hashed at once, in 170 µs. */
export const AT_ONCE = 256 * 1024;
/** Up to here on the event loop: as much as comes at once, and others have their turn between two steps. */
export const IN_STEPS = 1024 * 1024;

const BLOCK_SIZE = 256 * 1024;
const BLOCKS = 4;

/** A hash that is made while its bytes come. */
export interface Sha256 {
  /** The next bytes. They must stay as they are until the digest is there. */
  update(bytes: Uint8Array): void;
  /** Of all of them. */
  digest(): Promise<Buffer>;
  /** It is not wanted any more. */
  forget(): void;
}

/** @param size bytes that will come altogether */
export function startSha256(size: number): Sha256 {
  if (size > IN_STEPS) {
    thread ??= new HashThread();
    return thread.begin();
  }
  const hash = createHash('sha256');
  return {
    update: (bytes) => void hash.update(bytes),
    digest: async () => hash.digest(),
    forget: () => {},
  };
}

/** Of all that is in memory already. */
export async function sha256(bytes: Uint8Array): Promise<Buffer> {
  const hash = startSha256(bytes.length);
  if (bytes.length > IN_STEPS) hash.update(bytes);
  else {
    for (let at = 0; at < bytes.length; at += AT_ONCE) {
      if (at > 0) await nextTurn();
      hash.update(bytes.subarray(at, at + AT_ONCE));
    }
  }
  return await hash.digest();
}

/** One for the whole process; it keeps no process alive. */
let thread: HashThread | undefined;

interface Job {
  readonly id: number;
  readonly all: Uint8Array[];
  /** The bytes that are in no block yet, in their order. */
  readonly left: Uint8Array[];
  leftBytes: number;
  isWhole: boolean;
  isQueued: boolean;
  readonly resolve: (digest: Buffer) => void;
}

class HashThread {
  readonly #memory = new SharedArrayBuffer(BLOCKS * BLOCK_SIZE);
  readonly #free = Array.from({ length: BLOCKS }, (_, block) => block);
  readonly #jobs = new Map<number, Job>();
  /** Those that wait for a block. */
  readonly #queue: Job[] = [];
  readonly #worker: Worker;
  #nextId = 1;
  #isLost = false;

  constructor() {
    this.#worker = new Worker(new URL('./hash-thread.ts', import.meta.url), {
      workerData: { memory: this.#memory, blockSize: BLOCK_SIZE },
    });
    this.#worker.unref();
    this.#worker.on('message', (reply: HashReply) => this.#replied(reply));
    this.#worker.on('error', () => this.#lost());
    this.#worker.once('exit', () => this.#lost());
  }

  begin(): Sha256 {
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    const id = this.#nextId++;
    const job: Job = { id, all: [], left: [], leftBytes: 0, isWhole: false, isQueued: false, resolve };
    this.#jobs.set(job.id, job);
    return {
      update: (bytes) => {
        job.all.push(bytes);
        job.left.push(bytes);
        job.leftBytes += bytes.length;
        if (job.leftBytes >= BLOCK_SIZE) this.#enqueue(job);
      },
      digest: () => {
        job.isWhole = true;
        if (this.#isLost) hashNow(job);
        else this.#enqueue(job);
        return promise;
      },
      forget: () => {
        if (!this.#jobs.delete(job.id)) return;
        job.left.length = 0;
        this.#post({ job: job.id, block: -1, length: 0, next: 'forget' });
      },
    };
  }

  #enqueue(job: Job): void {
    if (job.isQueued || this.#isLost) return;
    job.isQueued = true;
    this.#queue.push(job);
    this.#fill();
  }

  /** Each job that waits gets one block at a time. */
  #fill(): void {
    while (this.#free.length > 0 && this.#queue.length > 0) {
      const job = this.#queue.shift()!;
      job.isQueued = false;
      if (!this.#jobs.has(job.id)) continue;
      const block = this.#free.pop()!;
      const length = this.#copy(job, block);
      const isLast = job.isWhole && job.leftBytes === 0;
      this.#post({ job: job.id, block, length, next: isLast ? 'digest' : 'more' });
      if (isLast) continue;
      if (job.isWhole || job.leftBytes >= BLOCK_SIZE) {
        job.isQueued = true;
        this.#queue.push(job);
      }
    }
  }

  #copy(job: Job, block: number): number {
    const to = new Uint8Array(this.#memory, block * BLOCK_SIZE, BLOCK_SIZE);
    let at = 0;
    while (at < BLOCK_SIZE && job.left.length > 0) {
      const [bytes] = job.left as [Uint8Array];
      const taken = bytes.subarray(0, BLOCK_SIZE - at);
      to.set(taken, at);
      at += taken.length;
      if (taken.length === bytes.length) job.left.shift();
      else job.left[0] = bytes.subarray(taken.length);
    }
    job.leftBytes -= at;
    return at;
  }

  #post(request: HashRequest): void {
    // The process must not end before the reply, which is waited for.
    this.#worker.ref();
    this.#worker.postMessage(request);
  }

  #replied({ job: id, block, digest }: HashReply): void {
    if (block >= 0) this.#free.push(block);
    if (digest !== undefined) {
      this.#jobs.get(id)?.resolve(Buffer.from(digest.buffer as ArrayBuffer, digest.byteOffset, digest.byteLength));
      this.#jobs.delete(id);
    }
    this.#fill();
    if (this.#free.length === BLOCKS) this.#worker.unref();
  }

  /** Without a thread, hashing costs the event loop more. The next one that begins gets a new thread. */
  #lost(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    if (thread === this) thread = undefined;
    for (const job of this.#jobs.values()) if (job.isWhole) hashNow(job);
  }
}

function hashNow({ all, resolve }: Job): void {
  const hash = createHash('sha256');
  for (const bytes of all) hash.update(bytes);
  resolve(hash.digest());
}
