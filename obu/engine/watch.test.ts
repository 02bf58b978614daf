import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { Label } from '../workloads/container-spec.ts';
import type { Engine } from './docker-client.ts';
import { EngineWatch, eventsIn } from './watch.ts';

const event = (id: string, owner = 'me', type = 'container') =>
  `${JSON.stringify({ Type: type, Action: 'die', Actor: { ID: id, Attributes: { [Label.owner]: owner } } })}\n`;

/** A watch over an engine that answers `getEvents` like this, one after the other, and then stays silent. */
async function toldBy(...answers: (() => Promise<Readable>)[]): Promise<string[]> {
  const told: string[] = [];
  const getEvents = () => answers.shift()?.() ?? new Promise<Readable>(() => {});
  const engine = { kind: 'private', host: 'unix:///s', streams: { getEvents } } as unknown as Engine;
  const watch = new EngineWatch({
    engine,
    owner: 'me',
    log: silentLog(),
    onContainer: (id) => told.push(id),
    onImage: () => told.push('image'),
    onGap: () => told.push('gap'),
    onEngineEnd: () => told.push('engine end'),
  });
  watch.start();
  for (let i = 0; i < 500 && answers.length > 0; i++) await sleep(10);
  await sleep(20);
  void watch.stop();
  return told;
}
const refused = () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
const stream =
  (...chunks: string[]) =>
  () =>
    Promise.resolve(Readable.from(chunks.map((one) => Buffer.from(one))));

it('names our containers, however the stream is cut', async () => {
  const text = event('a') + event('b', 'somebody else') + event('c', '', 'image') + event('d');
  expect(await toldBy(stream(text.slice(0, 30), text.slice(30, 200), text.slice(200)))).toEqual([
    'gap',
    'a',
    'image',
    'd',
  ]);
});

it('an engine that cannot be reached after its stream ended has ended', async () => {
  expect(await toldBy(stream(event('a')), refused, refused)).toEqual(['gap', 'a', 'engine end']);
});

it('one that takes us back at once has not', async () => {
  expect(await toldBy(stream(event('a')), stream(event('b')))).toEqual(['gap', 'a', 'gap', 'b']);
});

it('an engine that never answered has not ended', async () => {
  expect(await toldBy(refused)).toEqual([]);
});

it('an endless line is an error, and so is no JSON', async () => {
  const read = async (...chunks: string[]) => {
    for await (const _ of eventsIn(Readable.from(chunks.map((one) => Buffer.from(one))))) void _;
  };
  await expect(read('x'.repeat(1 << 20), 'x')).rejects.toThrow('too long');
  await expect(read('{no\n')).rejects.toThrow();
});
