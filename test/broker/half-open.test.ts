import { afterEach, expect, test } from 'vitest';
import type { RunningBroker } from '../../broker/main.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { BrokerResult, CallerTerms } from '../../shared/v2e-client/offload-result.ts';
import { BrokerScene } from '../support/broker/broker-scene.ts';
import { Radio } from '../support/broker/radio.ts';
import { until } from '../support/until.ts';

// A link that nothing passes any more, and that neither end is told of: the vehicle in the tunnel.

let scene: BrokerScene;
let radio: Radio | undefined;
let link: BrokerLink | undefined;
afterEach(async () => {
  link?.stop('the test is over');
  await scene.stop();
  await radio?.close();
  scene.remove();
});

async function throughRadio(broker: RunningBroker): Promise<BrokerLink> {
  radio = await Radio.open(broker.port);
  const target = { id: 'rsu-1', url: radio.url };
  link = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
  const folder = await scene.identityDir({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  link.start(await loadIdentity(folder, 'vehicle'));
  await until('it is connected', () => link!.connected);
  return link;
}

function ask(id: string, input: string, keepMs: number): Promise<BrokerResult> {
  const request = { id, input: Buffer.from(input), isolation: 'any', taskDigest: scene.digest, priority: 500 } as const;
  const terms: CallerTerms = { serviceClass: 'normal', keepMs, durable: false };
  return link!.send({ ...request, deadline: new Deadline(60_000) }, terms);
}

test('both ends give it up by themselves; what is not to be kept is cancelled, what is kept waits for the vehicle', async () => {
  scene = new BrokerScene();
  const { broker } = await scene.start();
  const neighbour = await scene.vehicle(broker, 'car-2');
  await throughRadio(broker);
  const lost = expect(ask('kept', 'h1', 600_000)).rejects.toMatchObject({ code: ErrorCode.BrokerLost });
  await until('it runs', () => broker.status().running === 1);
  // Behind it, since there is one tender: it has not begun.
  const dropped = expect(ask('dropped', 'e2', 0)).rejects.toMatchObject({ code: ErrorCode.BrokerLost });
  await until('it waits', () => broker.status().queued === 1);

  radio!.goDeaf();
  await until('the vehicle calls it no answer', () => link!.trouble.startsWith('no answer'));
  await until('the broker has ended its end', () => broker.status().queued === 0);
  await until('the vehicle has another one', () => broker.status().clients === 2 && link!.answers);
  await Promise.all([lost, dropped]);
  expect(broker.status()).toMatchObject({ running: 1, queued: 0 });

  // One that answers the heartbeat and is otherwise silent has never been disconnected: no other timer counts its silence.
  expect({ connected: neighbour.connected, lostBecause: neighbour.lostBecause }).toEqual({
    ...{ connected: true, lostBecause: '' },
  });
  scene.release();
  await until('it has run', () => broker.status().running === 0);
  expect(await ask('kept', 'h1', 600_000)).toMatchObject({ kept: true, output: Buffer.from('h1') });
  // Nothing is known of the other one: it runs now, for the first time.
  expect(await ask('dropped', 'e2', 0)).toMatchObject({ kept: false });
});
