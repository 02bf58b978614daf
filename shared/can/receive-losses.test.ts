import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LossCounter, type Moment, makeMarkerFilter, matchesOf, takeLook } from './receive-losses.ts';

describe('matchesOf', () => {
  const marker = { id: 0xd1234567, mask: 0xdfffffff };
  const list = `
receive list 'rx_inv':
  (any: no entry)
  device   can_id   can_mask  function  userdata   matches  ident
   vcan0  d1111111  dfffffff  00000000a5a5a5a5  00000000deadbeef         7  raw
   vcan0  d1234567  dfffffff  00000000a5a5a5a5  00000000deadbeef       421  raw
   vcan1  d1234567  dfffffff  00000000a5a5a5a5  00000000deadbeef         9  raw
`;

  it('finds the line of this marker on this interface', () => {
    expect(matchesOf(list, 'vcan0', marker)).toBe(421);
    expect(matchesOf(list, 'vcan1', marker)).toBe(9);
  });

  it('finds nothing where there is nothing', () => {
    expect(matchesOf(list, 'vcan2', marker)).toBeUndefined();
    expect(matchesOf(list, 'vcan0', { ...marker, id: 1 })).toBeUndefined();
    expect(matchesOf('', 'vcan0', marker)).toBeUndefined();
    expect(matchesOf('   vcan0  d1234567', 'vcan0', marker)).toBeUndefined();
  });

  it('makes a marker that is a remote frame of 29 bits, another one each time', () => {
    const ids = new Set(Array.from({ length: 50 }, () => makeMarkerFilter().id));
    expect(ids.size).toBeGreaterThan(40);
    for (const id of ids) expect(id >>> 28).toBe(0xd);
  });
});

describe('LossCounter', () => {
  const SECOND = 1_000_000;
  /** 2026-01-01, in microseconds. */
  const EPOCH = 1_767_225_600_000_000;

  /** A kernel with a receive buffer of some frames, and a program that reads it. Time is in microseconds since the start. */
  class Scene {
    readonly counter = new LossCounter();
    readonly queue: number[] = [];
    readonly #room: number;
    matches = 0;
    /** What the kernel dropped: the truth that the counter has to find. */
    dropped = 0;
    timeUs = 0;
    /** What the clock of the stamps was set forward by. */
    setUs = 0;

    constructor(room = 300) {
      this.#room = room;
    }

    come(count = 1, everyUs = 0): void {
      for (let i = 0; i < count; i++) {
        this.matches++;
        if (this.queue.length < this.#room) this.queue.push(EPOCH + this.setUs + this.timeUs);
        else this.dropped++;
        this.timeUs += everyUs;
      }
    }

    send(): void {
      this.counter.sent();
      this.matches++;
    }

    read(count = this.queue.length): void {
      for (const stamp of this.queue.splice(0, count)) this.counter.received(stamp);
    }

    look(matches = this.matches): void {
      this.counter.look(matches, { wallUs: EPOCH + this.setUs + this.timeUs, steadyUs: this.timeUs });
    }

    /** Frames have been read for some seconds, as on every bus. */
    warmUp(): void {
      for (let i = 0; i < 3; i++) {
        this.come();
        this.read();
        this.timeUs += SECOND;
        this.look();
      }
    }

    /** A frame of later, which shows that all before it were read. */
    later(): void {
      this.timeUs += SECOND;
      this.come();
      this.read();
    }
  }

  it('counts nothing while frames wait at every look', () => {
    const scene = new Scene();
    scene.warmUp();
    for (let second = 0; second < 60; second++) {
      scene.come(50 + (second % 9), 1000);
      scene.look();
      expect(scene.queue.length).toBeGreaterThan(0);
      scene.timeUs += SECOND;
      scene.read(scene.queue.length - 1 - (second % 7));
    }
    expect(scene.dropped).toBe(0);
    expect(scene.counter.lost).toBe(0);
  });

  it('counts a burst exactly, as soon as a later frame has come', () => {
    const scene = new Scene(300);
    scene.warmUp();
    scene.come(1000);
    expect(scene.dropped).toBe(700);
    scene.look();
    expect(scene.counter.lost).toBe(0);
    scene.read();
    expect(scene.counter.lost).toBe(0);
    scene.later();
    expect(scene.counter.lost).toBe(700);
    scene.look();
    scene.later();
    expect(scene.counter.lost).toBe(700);
  });

  it('counts a burst exactly on a bus that is silent afterwards', () => {
    const scene = new Scene(300);
    scene.warmUp();
    scene.come(450);
    scene.look();
    scene.read();
    for (let i = 0; i < 5; i++) {
      scene.timeUs += SECOND;
      scene.look();
    }
    expect(scene.counter.lost).toBe(150);
  });

  it('does not take for silence that nobody reads', () => {
    const scene = new Scene(300);
    scene.warmUp();
    scene.come(200);
    // Other frames come in between, but none is read: the program is busy.
    for (let i = 0; i < 8; i++) {
      scene.timeUs += SECOND;
      scene.come();
      scene.look();
    }
    expect(scene.counter.lost).toBe(0);
    scene.read();
    scene.later();
    expect(scene.counter.lost).toBe(0);
  });

  it('counts a loss in the middle of traffic that never pauses', () => {
    const scene = new Scene(300);
    scene.warmUp();
    for (let second = 0; second < 20; second++) {
      if (second === 7) scene.come(400);
      scene.come(100, 1000);
      scene.look();
      scene.timeUs += 1;
      scene.come(50, 1000);
      scene.read(120 + second * 10);
      scene.timeUs += SECOND;
    }
    scene.read();
    scene.later();
    expect(scene.dropped).toBeGreaterThan(100);
    expect(scene.counter.lost).toBe(scene.dropped);
  });

  it('is never above the truth when frames come between reading the count and the clock', () => {
    const scene = new Scene(50);
    scene.warmUp();
    for (let second = 0; second < 30; second++) {
      scene.come(60 + (second % 5), 10);
      const { matches } = scene;
      scene.come(second % 3);
      scene.look(matches);
      scene.read(20 + second);
      scene.timeUs += SECOND;
      expect(scene.counter.lost).toBeLessThanOrEqual(scene.dropped);
    }
    scene.read();
    scene.later();
    scene.look();
    scene.later();
    expect(scene.counter.lost).toBe(scene.dropped);
  });

  it('counts what it sent as accounted for', () => {
    const scene = new Scene();
    scene.warmUp();
    for (let second = 0; second < 10; second++) {
      for (let i = 0; i < 40; i++) scene.send();
      scene.come(10, 100);
      scene.look();
      scene.read(5);
      scene.timeUs += SECOND;
    }
    for (let i = 0; i < 5; i++) {
      scene.read();
      scene.timeUs += SECOND;
      scene.look();
    }
    expect(scene.counter.lost).toBe(0);
  });

  it.each([-10 * 365 * 86_400, -60, -1, 1, 10 * 365 * 86_400])(
    'loses its way by no setting of the clock (%i s)',
    (by) => {
      const scene = new Scene(300);
      scene.warmUp();
      scene.come(100);
      scene.setUs += by * SECOND;
      scene.look();
      scene.read(40);
      scene.come(30);
      scene.timeUs += SECOND;
      scene.look();
      scene.read();
      scene.come(20);
      for (let i = 0; i < 15; i++) {
        scene.timeUs += SECOND;
        scene.come(2, 100);
        scene.look();
        scene.read();
      }
      expect(scene.counter.lost).toBe(0);
      scene.come(500);
      const { dropped } = scene;
      for (let i = 0; i < 3; i++) {
        scene.look();
        scene.read();
        scene.later();
      }
      expect(dropped).toBe(200);
      expect(scene.counter.lost).toBe(dropped);
    },
  );

  it('does not trust frames that were read before the kernel stamped any', () => {
    const scene = new Scene(300);
    for (let i = 0; i < 5; i++) {
      scene.timeUs += SECOND;
      scene.look();
    }
    scene.come(100);
    scene.look();
    // What has no stamp seems to have come when it is read.
    scene.timeUs += 500_000;
    for (const _ of scene.queue.splice(0)) scene.counter.received(EPOCH + scene.timeUs);
    for (let i = 0; i < 6; i++) scene.later();
    expect(scene.counter.lost).toBe(0);
  });

  it('is at most the truth, and in the end the truth, whatever happens when', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ come: fc.nat(40), everyUs: fc.nat(500), during: fc.nat(2), read: fc.nat(60), send: fc.nat(3) }),
          {
            maxLength: 60,
          },
        ),
        (seconds) => {
          const scene = new Scene(30);
          scene.warmUp();
          for (const { come, everyUs, during, read, send } of seconds) {
            scene.come(come, everyUs);
            for (let i = 0; i < send; i++) scene.send();
            const { matches } = scene;
            scene.come(during);
            scene.look(matches);
            scene.read(read);
            scene.timeUs += SECOND;
            if (scene.counter.lost > scene.dropped) return false;
          }
          for (let i = 0; i < 2; i++) {
            scene.read();
            scene.later();
            scene.look();
          }
          scene.later();
          return scene.counter.lost === scene.dropped;
        },
      ),
    );
  });
});

describe('takeLook', () => {
  it('gives the time of day after the reading, to less than the millisecond that Node has', () => {
    const looks: { matches: number; at: Moment; learns: boolean }[] = [];
    const counter = {
      canLearnFrom: () => looks.length % 2 === 0,
      look: (matches: number, at: Moment) => looks.push({ matches, at, learns: looks.length % 2 === 0 }),
    } as unknown as LossCounter;
    for (let i = 0; i < 20; i++) {
      const before = Date.now() * 1000;
      takeLook(counter, () => 7);
      const { at } = looks.at(-1)!;
      expect(at.wallUs).toBeGreaterThanOrEqual(before);
      // It is an upper bound, and a loaded machine may have taken its time.
      expect(at.wallUs).toBeLessThan(Date.now() * 1000 + 2000);
    }
    takeLook(counter, () => undefined);
    expect(looks.length).toBe(20);
  });
});
