import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import type { OffloadResult } from '../../shared/v2e-client/offload-result.ts';
import { Daemon } from '../peers/daemon.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const ID = 'bench';

/** A broker in a process of its own with one task, and the OBU's own offloader connected to it over loopback. */
export class BenchBroker {
  readonly brokerId = ID;
  readonly #folder = mkdtempSync(join(tmpdir(), 'kerb-bench-broker-'));
  #identities: { vehicle: string; broker: string } | undefined;
  #daemon: Daemon | undefined;
  #offloader: BrokerOffloader | undefined;
  #digest = '';
  #count = 0;
  #url = '';

  /** Identity directories; known after `start()`. */
  get identities(): { vehicle: string; broker: string } {
    return this.#identities!;
  }

  /** Builds the task, starts the broker and connects. `stop()` is needed also when this fails. */
  async start(task: string, tasks = 'examples/tasks'): Promise<void> {
    const names = { vehicle: 'bench', broker: ID, tenant: 'bench' };
    const identities = await ensureDevelopmentIdentities(join(this.#folder, 'identity'), names);
    this.#identities = identities;
    const packages = join(this.#folder, 'packages');
    this.#digest = await buildTask(join(root, tasks, task), join(packages, task));
    const api = join(this.#folder, 'api.sock');
    const daemon = new Daemon([
      join(root, 'cli/kerb.ts'),
      ...['broker', 'serve', '--id', ID, '--listen', '127.0.0.1:0', '--identity', identities.broker],
      ...['--packages', packages, '--allow-unsigned', '--state', join(this.#folder, 'state'), '--api', api],
    ]);
    this.#daemon = daemon;
    let status: BrokerStatus | undefined;
    while (status === undefined) {
      if (daemon.ended) throw new Error(`the broker ended: ${daemon.errors}`);
      await sleep(50);
      status = await getStatus<BrokerStatus>(api).catch(() => undefined);
    }
    this.#url = status.url;
    const offloader = new BrokerOffloader({
      brokers: [{ id: ID, url: status.url }],
      identity: fixedIdentity(await loadIdentity(identities.vehicle, 'vehicle')),
      log: silentLog(),
    });
    this.#offloader = offloader;
    await offloader.start();
    while (!offloader.places()[0]?.connected) await sleep(20);
  }

  async call(input: Uint8Array): Promise<OffloadResult> {
    const id = `bench-${this.#count++}`;
    const deadline = new Deadline(10_000);
    const request = { id, taskDigest: this.#digest, input, isolation: 'any', deadline, priority: 500 } as const;
    return await this.#offloader!.offload(request);
  }

  /** A connection of its own. `close()` is needed. */
  async client(): Promise<BrokerClient> {
    const identity = await loadIdentity(this.identities.vehicle, 'vehicle');
    const client = new BrokerClient({ url: this.#url, identity, brokerId: ID });
    await client.connect();
    return client;
  }

  get digest(): string {
    return this.#digest;
  }

  async stop(): Promise<void> {
    await this.#offloader?.stop();
    await this.#daemon?.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
