import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../shared/base/random.ts';
import { DeadlineHeap, WaitingQueue } from './waiting-queue.ts';

interface Entry {
  readonly tenant: string;
  readonly deadline: { readonly at: number };
  readonly order: number;
}

test('of one tenant, the earliest deadline is first, whatever the order of arrival; equal ones as they came', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const heap = new DeadlineHeap<Entry>();
    const model: Entry[] = [];
    for (let order = 0; order < 200; order++) {
      if (random() < 0.6) {
        const entry = { tenant: 'a', deadline: { at: Math.floor(random() * 20) }, order };
        heap.push(entry);
        model.push(entry);
        model.sort((x, y) => x.deadline.at - y.deadline.at || x.order - y.order);
      } else {
        expect(heap.pop(), `seed ${seed}`).toBe(model.shift());
      }
      expect(heap.first).toBe(model[0]);
    }
  }
});

describe('turns', () => {
  test('one that floods delays another by one offload each, not by all it has waiting', () => {
    const queue = new WaitingQueue<Entry>();
    for (let order = 0; order < 100; order++) queue.push({ tenant: 'flood', deadline: { at: order }, order });
    queue.push({ tenant: 'calm', deadline: { at: 1e6 }, order: 100 });
    queue.push({ tenant: 'calm', deadline: { at: 1e5 }, order: 101 });
    const firstFour = [queue.shift(), queue.shift(), queue.shift(), queue.shift()];
    expect(firstFour.map((entry) => entry?.order)).toEqual([0, 101, 1, 100]);
  });

  test('with any arrivals: nobody waits longer than one offload of each other tenant, and nothing is lost', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seededRandom(seed);
      const queue = new WaitingQueue<Entry>();
      const waiting = new Map<string, Entry[]>();
      /** Takes of others since this tenant began to wait or was last served. */
      const passedOver = new Map<string, number>();
      let size = 0;
      for (let order = 0; order < 300; order++) {
        if (random() < 0.55) {
          const tenant = 'abcde'[Math.floor(random() ** 3 * 5)]!;
          const entry = { tenant, deadline: { at: Math.floor(random() * 1000) }, order };
          queue.push(entry);
          size++;
          if (!waiting.has(tenant)) passedOver.set(tenant, 0);
          waiting.set(tenant, [...(waiting.get(tenant) ?? []), entry]);
          continue;
        }
        const taken = queue.shift();
        expect(taken === undefined).toBe(size === 0);
        if (taken === undefined) continue;
        size--;
        const line = waiting.get(taken.tenant)!;
        expect(taken.deadline.at, `seed ${seed}`).toBe(Math.min(...line.map(({ deadline }) => deadline.at)));
        line.splice(line.indexOf(taken), 1);
        if (line.length === 0) waiting.delete(taken.tenant);
        passedOver.set(taken.tenant, 0);
        for (const tenant of waiting.keys()) {
          if (tenant === taken.tenant) continue;
          passedOver.set(tenant, passedOver.get(tenant)! + 1);
          expect(passedOver.get(tenant), `seed ${seed}`).toBeLessThanOrEqual(4);
        }
      }
      expect(queue.size).toBe(size);
    }
  });

  test('what is swept out costs its tenant no turn', () => {
    const queue = new WaitingQueue<Entry>();
    queue.push({ tenant: 'a', deadline: { at: 5 }, order: 0 });
    queue.push({ tenant: 'a', deadline: { at: 50 }, order: 1 });
    queue.push({ tenant: 'b', deadline: { at: 60 }, order: 2 });
    queue.push({ tenant: 'c', deadline: { at: 4 }, order: 3 });
    const spent: number[] = [];
    queue.sweep(5, ({ order }) => spent.push(order));
    expect(spent).toEqual([0, 3]);
    expect(queue.earliestDeadline()).toBe(50);
    expect([queue.shift()?.order, queue.shift()?.order, queue.shift()]).toEqual([1, 2, undefined]);
    expect(queue.earliestDeadline()).toBe(Number.POSITIVE_INFINITY);
  });
});
