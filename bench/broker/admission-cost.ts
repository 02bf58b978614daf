import { Admission } from '../../broker/admission/admission.ts';
import type { Waiting } from '../../broker/admission/terms.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { seededRandom } from '../../shared/base/random.ts';
import { type Row, summarise } from '../measure.ts';
import type { Say } from '../tenders.ts';
import { suite } from './setting.ts';

const QUEUED = [0, 100, 10_000];
const TENANTS = [1, 100];
const BATCHES = 30;
const BATCH = 200;
const DIGEST = 'sha256:a';
const MANY = 1_000_000;

/**
 * The cost of the decision alone, in microseconds of this process for each offload: one that is admitted, taken from the
 * queue and ended, and one that is refused because it cannot be in time. Budgets differ, so that order costs what it does.
 */
export async function* admissionCost(say: Say): AsyncGenerator<Row> {
  for (const tenants of TENANTS) {
    for (const queued of QUEUED) {
      const where = `${queued.toLocaleString('en-US')} waiting, ${tenants} tenant${tenants === 1 ? '' : 's'}`;
      say(`the cost of admission, ${where}`);
      const scene = new Scene(tenants, queued);
      scene.admitted(10 * BATCH);
      const admitted = Array.from({ length: BATCHES }, () => (1000 * scene.admitted(BATCH)) / BATCH);
      yield summarise(suite, `admission of one that is run, ${where}`, 'us', admitted);
      scene.refused(10 * BATCH);
      const refused = Array.from({ length: BATCHES }, () => (1000 * scene.refused(BATCH)) / BATCH);
      yield summarise(suite, `admission of one that is refused, ${where}`, 'us', refused);
    }
  }
}

/** A queue that stays as long as it is. */
class Scene {
  readonly #random = seededRandom(1);
  readonly #tenants: number;
  readonly #queue: Admission<Waiting>;
  #now = 0;
  #next = 0;

  constructor(tenants: number, queued: number) {
    this.#tenants = tenants;
    const many = { maxQueuedPerPackage: MANY, maxQueuedPerTenant: MANY, maxQueuedBytes: Number.POSITIVE_INFINITY };
    const limits = { ...many, maxRunning: 2, longRunMs: 50, yieldMs: 10, wayBackMs: 1 };
    this.#queue = new Admission<Waiting>({ limits, onDropped: () => {} });
    this.#queue.declare(DIGEST, 5);
    for (let i = 0; i < queued; i++) this.#admit();
  }

  /** @returns milliseconds for so many */
  admitted(count: number): number {
    const since = performance.now();
    for (let i = 0; i < count; i++) {
      this.#admit();
      const taken = this.#queue.take(this.#now, () => true);
      if (taken === undefined) throw new Error('nothing was taken out of a queue that is not empty');
      this.#now += 0.01;
      this.#queue.ended(taken, this.#now, 'met');
    }
    return performance.now() - since;
  }

  refused(count: number): number {
    const since = performance.now();
    for (let i = 0; i < count; i++) {
      const late = this.#entry(new Deadline(1, this.#now - 0.999));
      // A few are let through, to see whether the estimate is right.
      if (this.#queue.admit(late, this.#now) === undefined) this.#queue.remove(late);
    }
    return performance.now() - since;
  }

  #admit(): void {
    const deadline = new Deadline(MANY * (1 + this.#random()), this.#now);
    const why = this.#queue.admit(this.#entry(deadline), this.#now);
    if (why !== undefined) throw new Error(`it was refused: ${why.message}`);
  }

  #entry(deadline: Deadline): Waiting {
    const tenant = `t${this.#next++ % this.#tenants}`;
    const input = { length: 4096 };
    return {
      tenant,
      vehicle: tenant,
      taskDigest: DIGEST,
      serviceClass: 'normal',
      deadline,
      dwellMs: Number.POSITIVE_INFINITY,
      input,
    };
  }
}
