/**
 * A whole broker on connections whose bytes, inside TLS, were changed at random, from WebSocket's upgrade on: it answers
 * everybody else, keeps nothing of them and writes no more than its limits let it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunningBroker } from '../../broker/main.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import type { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import { BrokerScene } from '../support/broker/broker-scene.ts';
import { rounds } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { corpusOf, mutantOf, Random, type Sample } from './mutants.ts';

const ROUNDS = rounds(96, 20_000);
const AT_ONCE = 8;
/** What is not cut off until then is taken for a client that waits. */
const IDLE_MS = 25;
/** For what has to be answered, on a busy machine. */
const LONG_MS = 20_000;

const scene = new BrokerScene();
let broker: RunningBroker;
let neighbour: BrokerLink;
beforeAll(async () => {
  ({ broker } = await scene.start());
  neighbour = await scene.vehicle(broker, 'car-1');
});
afterAll(async () => {
  await scene.stop();
  scene.remove();
});

/**
 * Says it in two pieces, and goes.
 * @param waits until the first answer, or the end of the connection
 * @returns how many bytes the broker answered
 */
async function say(bytes: Buffer, options: object, random: Random, waits = false): Promise<number> {
  const socket = connect({ ...options, host: '127.0.0.1', port: Number(new URL(broker.url).port) });
  let answered = 0;
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const first = new Promise<void>((resolve) => socket.once('data', () => resolve()));
  socket
    .on('error', () => {})
    .on('data', (chunk: Buffer) => {
      answered += chunk.length;
    });
  const idleMs = waits ? LONG_MS : IDLE_MS;
  const cut = random.below(bytes.length + 1);
  socket.write(bytes.subarray(0, cut));
  await sleep(random.below(3));
  socket.write(bytes.subarray(cut));
  await Promise.race([ended, sleep(idleMs), ...(waits ? [first] : [])]);
  if (random.below(2) === 0) socket.destroy();
  else socket.end();
  await Promise.race([ended, sleep(IDLE_MS)]);
  socket.destroy();
  await ended;
  return answered;
}

test('a broker goes on serving beside what is changed at random', async () => {
  const identity = await loadIdentity(
    await scene.identityDir({ kind: 'vehicle', id: 'liar', tenant: 'Other' }),
    'vehicle',
  );
  const options = identity.clientOptions('rsu-1');
  const samples = corpusOf('connection');
  const random = new Random(42);
  let answered = 0;
  // As it is, each of them is answered: the changes are made to something that the broker listens to.
  for (const { name, bytes } of samples as readonly Sample[]) {
    expect(await say(bytes, options, random, true), name).toBeGreaterThan(0);
  }
  for (let round = 0; round < ROUNDS; round += AT_ONCE) {
    const bytes = Array.from({ length: AT_ONCE }, () => mutantOf(samples, random));
    const all = await Promise.all(bytes.map((one) => say(one, options, random)));
    answered += all.reduce((sum, one) => sum + one, 0);
    const { output } = await scene.offload(neighbour, 'echo');
    expect(output.length, `round ${round}: ${bytes.map((one) => one.toString('hex')).join('\n')}`).toBeGreaterThan(0);
  }
  expect(answered).toBeGreaterThan(0);
  // A link that ended at the other side is gone here, and the neighbour's never was.
  await until('the broker has forgotten them', () => broker.status().clients === 1);
  expect(neighbour.connected).toBe(true);
});
