import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrokerConfig } from '../../../broker/config.ts';
import { DEFAULT_LIMITS } from '../../../broker/config.ts';
import { type BrokerParts, type RunningBroker, startBroker } from '../../../broker/main.ts';
import { Deadline } from '../../../shared/base/deadline.ts';
import { silentLog } from '../../../shared/base/log.ts';
import {
  type Credentials,
  createAuthority,
  issueCertificate,
  type Subject,
} from '../../../shared/identity/authority.ts';
import { writeIdentity } from '../../../shared/identity/files.ts';
import { loadIdentity } from '../../../shared/identity/x509-identity.ts';
import { buildTaskPackage } from '../../../shared/task-package/writer.ts';
import { BrokerLink } from '../../../shared/v2e-client/broker-link.ts';
import type { BrokerResult } from '../../../shared/v2e-client/offload-result.ts';
import { fakeImage } from '../fake-image.ts';
import { until } from '../until.ts';
import { GatedTender } from './gated-tender.ts';
import { noThread } from './no-thread.ts';

/** A broker with a fake tender for the task `echo`, and vehicles that speak with it; see FakeTender for its inputs. */
export class BrokerScene {
  readonly root = mkdtempSync(join(tmpdir(), 'kerb-scene-'));
  readonly #undo: (() => unknown)[] = [];
  #authority: Credentials | undefined;
  #made = 0;
  digest = '';
  /** Lets those offloads end whose input begins with "h". */
  release: () => void = () => {};

  async identityDir(subject: Subject): Promise<string> {
    this.#authority ??= await createAuthority('Test CA');
    const dir = join(this.root, `identity-${this.#made++}`);
    await writeIdentity(dir, await issueCertificate(this.#authority, subject), this.#authority.certificate);
    return dir;
  }

  async start(
    config: Partial<BrokerConfig> = {},
    hurry?: AbortSignal,
    parts: Partial<BrokerParts> = {},
  ): Promise<{ broker: RunningBroker; api: string }> {
    const packagesDir = join(this.root, 'packages');
    if (this.digest === '') {
      const what = { images: [fakeImage()], version: '1', isolation: 'any' } as const;
      this.digest = await buildTaskPackage(join(packagesDir, 'echo'), what);
    }
    const api = join(this.root, `s${this.#made++}`);
    const gate = Promise.withResolvers<void>();
    this.release = gate.resolve;
    const broker = await startBroker(
      {
        id: 'rsu-1',
        listen: { host: '127.0.0.1', port: 0 },
        identityDir: await this.identityDir({ kind: 'broker', id: 'rsu-1', hosts: [] }),
        packagesDir,
        trustDir: undefined,
        stateDir: join(this.root, `state-${this.#made++}`),
        apiSocket: api,
        isolation: 'process',
        prestart: 'all',
        limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1 },
        ...config,
      },
      {
        ...{ log: silentLog(), runThread: noThread, createTender: () => new GatedTender(gate.promise) },
        ...(hurry && { hurry }),
        ...parts,
      },
    );
    this.#undo.push(() => broker.stop());
    this.#undo.push(gate.resolve);
    return { broker, api };
  }

  /** Connected. */
  async vehicle(broker: RunningBroker, id = 'car-1', tenant = 'ACME'): Promise<BrokerLink> {
    const target = { id: 'rsu-1', url: broker.url };
    const link = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
    link.start(await loadIdentity(await this.identityDir({ kind: 'vehicle', id, tenant }), 'vehicle'));
    this.#undo.push(() => link.stop('the test is over'));
    await until(`vehicle ${id} is connected`, () => link.connected);
    return link;
  }

  /** @param input as FakeTender does it; "h": it runs until `release` */
  offload(link: BrokerLink, input: string | Uint8Array = 'e', id = `o${this.#made++}`): Promise<BrokerResult> {
    return link.send(
      {
        ...{ id, input: Buffer.from(input), isolation: 'any', taskDigest: this.digest, priority: 500 },
        deadline: new Deadline(5000),
      },
      { serviceClass: 'normal', keepMs: 60_000, durable: false },
    );
  }

  async stop(): Promise<void> {
    for (let step = this.#undo.pop(); step !== undefined; step = this.#undo.pop()) await step();
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
