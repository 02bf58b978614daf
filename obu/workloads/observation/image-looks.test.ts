import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { ImageLooks } from './image-looks.ts';

/** Looks that end when they are told to, each with the number of its beginning. */
function scene() {
  const open: { resolve: () => void; reject: (error: Error) => void }[] = [];
  let begun = 0;
  const looks = new ImageLooks(() => {
    begun++;
    return new Promise((resolve, reject) => open.push({ resolve, reject }));
  });
  const end = async (error?: Error) => {
    const one = open.shift()!;
    if (error === undefined) one.resolve();
    else one.reject(error);
    await turn();
  };
  return { looks, end, begun: () => begun };
}

it('a manifest that changes while images are looked at is not judged by that look', async () => {
  const { looks, end, begun } = scene();
  const first = looks.ask();
  expect(looks.isKnown).toBe(true);
  looks.need(); // another manifest is wanted, in the middle of the look
  const second = looks.ask();
  expect(looks.isKnown).toBe(false);
  await end();
  expect([begun(), looks.isKnown]).toEqual([2, false]);
  await end();
  expect([begun(), looks.isKnown]).toEqual([2, true]);
  await Promise.all([first, second]);
});

it('one that changes again in the second look needs a third, and many who ask at once share one', async () => {
  const { looks, end, begun } = scene();
  const all = [looks.ask(), looks.ask(), looks.ask()];
  looks.need();
  all.push(looks.ask());
  await end();
  looks.need();
  all.push(looks.ask());
  await end();
  expect([begun(), looks.isKnown]).toEqual([3, false]);
  await end();
  expect(looks.isKnown).toBe(true);
  await Promise.all(all);
});

it('a look that failed is no look: what is needed stays unknown until one has been done', async () => {
  const { looks, end, begun } = scene();
  looks.need();
  const failed = looks.ask();
  const heard = expect(failed).rejects.toThrow('engine');
  await end(new Error('engine'));
  await heard;
  expect(looks.isKnown).toBe(false);
  const again = looks.ask();
  await end();
  await again;
  expect([begun(), looks.isKnown]).toEqual([2, true]);
});

it.each([0, 1, 2, 3, 4, 5, 6])(
  'who asks %i microtasks after a look has ended gets one that begins after that',
  async (ticks) => {
    let begun = 0;
    const looks = new ImageLooks(async () => {
      begun++;
    });
    const first = looks.ask();
    for (let i = 0; i < ticks; i++) await undefined;
    const before = begun;
    looks.need();
    await looks.ask();
    expect([begun > before, looks.isKnown]).toEqual([true, true]);
    await first;
  },
);
