import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { isKerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import { BrokerProcess } from '../support/broker/broker-process.ts';
import { Radio } from '../support/broker/radio.ts';
import { rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';

// The broker dies in the middle of inputs and outputs that cross in chunks, and comes back: who asks again has the result.

const top = join(import.meta.dirname, '../..');
const SIZE = 2 << 20;
/** In the middle of the first of them. */
const KILL_AFTER = 3 * (SIZE / 4);

let root: string;
let digest: string;
let broker: BrokerProcess;
let radio: Radio;
let link: BrokerLink;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-transfer-kills-'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  const identities = await ensureDevelopmentIdentities(join(root, 'identity'), names);
  digest = await buildTask(join(top, 'examples/tasks/echo'), join(root, 'packages', 'echo'));
  broker = await BrokerProcess.create(root, identities.broker, ['--blank-tenders', '0']);
  await broker.start();
  radio = await Radio.open(broker.port);
  const target = { id: 'rsu-1', url: radio.url };
  link = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
  link.start(await loadIdentity(identities.vehicle, 'vehicle'));
  await until('it is connected', () => link.connected);
});
afterAll(async () => {
  link?.stop('the test is over');
  await broker?.kill();
  await radio?.close();
  rmSync(root, { recursive: true, force: true });
});

/** Asks again under the same id, within one budget, whenever the broker is lost. @returns the output, and how often it asked */
async function ask(id: string, input: Buffer, keepMs: number): Promise<{ output: Uint8Array; asked: number }> {
  const deadline = new Deadline(60_000);
  const request = { id, input, isolation: 'any', taskDigest: digest, priority: 500, deadline } as const;
  for (let asked = 1; ; asked++) {
    await until('there is a broker', () => link.connected);
    try {
      const { output } = await link.send(request, { serviceClass: 'normal', keepMs, durable: keepMs > 0 });
      return { output, asked };
    } catch (error) {
      if (!isKerbError(error) || deadline.isOver()) throw error;
      await sleep(10);
    }
  }
}

/** Kills it when so many bytes have come by. @returns resolves when it is there again */
function killInTheMiddle(of: 'broker' | 'vehicle'): Promise<void> {
  let passed = 0;
  return new Promise((resolve, reject) => {
    radio.onPassing = (to, bytes) => {
      passed += to === of ? bytes : 0;
      if (passed < KILL_AFTER) return;
      radio.onPassing = () => {};
      broker
        .kill()
        .then(() => broker.start())
        .then(resolve, reject);
    };
  });
}

test.each(rows(1, ['broker', 'vehicle'] as const))('on the way to the %s', async (to) => {
  const back = killInTheMiddle(to);
  const inputs = [0, 1].map((n) => Buffer.alloc(SIZE, `${to} ${n} `));
  const all = inputs.map((input, n) => ask(`${to}-${n}`, input, n * 600_000));
  await back;
  for (const [n, { output, asked }] of (await Promise.all(all)).entries()) {
    expect({ n, same: inputs[n]!.equals(output), askedAgain: asked > 1 }).toEqual({ n, same: true, askedAgain: true });
  }
});
