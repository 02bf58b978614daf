import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import type { LoadReport } from '../../cli/offload/load.ts';
import { getControl, getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { Daemon } from '../peers/daemon.ts';
import { pinned } from '../peers/pinned.ts';
import { computedUs, familyOf, proportionalKib } from '../tenders.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const attacks = join(root, 'test/support/attacks');
const ID = 'bench';
const START_MS = 60_000;
/** Beyond the time that a load is to take. */
const GRACE_MS = 60_000;
/** Goes before the attackers when both want the core of the clients. */
const CLIENT_NICE = -5;
const ATTACKER_NICE = 19;
/** As bin/kerb starts a broker. */
const AS_KERB = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };

/** All tenants may the same: what a broker gives a tenant that its operator has said nothing else about. */
const POLICY = 'tenants:\n  victim: { weight: 1 }\n  other: { weight: 1 }\n  attacker: { weight: 1 }\n';

export interface LoadOptions {
  readonly tenant?: string;
  /** A file. */
  readonly input: string;
  readonly ms: number;
  readonly budgetMs: number;
  /** More options of `kerb offload`. */
  readonly args: readonly string[];
}

/**
 * One broker in a process of its own, with admission as it comes and a unikernel for each call in isolation `process`,
 * and `kerb offload` in processes of their own as its clients.
 */
export class BrokerRig {
  readonly folder = mkdtempSync(join(tmpdir(), 'kerb-bench-broker-'));
  readonly #daemons: Daemon[] = [];
  #broker: Daemon | undefined;
  #url = '';
  #digest = '';

  get pid(): number {
    return this.#broker!.pid;
  }

  get url(): string {
    return this.#url;
  }

  /** Builds the task and starts the broker, with more flags. `stop()` is needed also when this fails. */
  async start(...flags: string[]): Promise<void> {
    const packages = join(this.folder, 'packages');
    this.#digest = await buildTask(join(root, 'bench/tasks/work'), join(packages, 'work'));
    const { broker } = await this.identities('victim');
    const api = join(this.folder, 'api.sock');
    const serve = ['broker', 'serve', '--id', ID, '--listen', '127.0.0.1:0', '--identity', broker];
    const where = ['--packages', packages, '--allow-unsigned', '--state', join(this.folder, 'state'), '--api', api];
    const policy = join(this.folder, 'policy.yaml');
    writeFileSync(policy, POLICY);
    const how = ['--isolation', 'process', '--policy', policy];
    this.#broker = this.#spawn(0, 0, [join(root, 'cli/kerb.ts'), ...serve, ...where, ...how, ...flags], AS_KERB);
    const limit = performance.now() + START_MS;
    for (;;) {
      if (this.#broker.ended) throw new Error(`the broker ended: ${this.#broker.errors}`);
      if (performance.now() > limit) throw new Error(`the broker has not started for ${START_MS / 1000} s`);
      const status = await getStatus<BrokerStatus>(api).catch(() => undefined);
      if (status !== undefined) {
        this.#url = status.url;
        return;
      }
      await sleep(50);
    }
  }

  /** Identity folders of a vehicle that has the same name as its tenant, and of the broker. */
  async identities(tenant: string) {
    return await ensureDevelopmentIdentities(join(this.folder, 'identity'), { vehicle: tenant, broker: ID, tenant });
  }

  /** Many offloads of one tenant, from a process of its own. @throws Error when it failed */
  async load({ tenant = 'victim', input, ms, budgetMs, args }: LoadOptions): Promise<LoadReport> {
    const { vehicle } = await this.identities(tenant);
    const where = ['offload', 'work', '--broker', this.url, '--identity', vehicle, '--id', ID];
    const what = ['--input', input, '--duration', `${ms}ms`, '--budget', `${budgetMs}ms`, '-o', 'json', ...args];
    const [program, all] = pinned(1, CLIENT_NICE, [join(root, 'cli/kerb.ts'), ...where, ...what]);
    const timeout = ms + budgetMs + GRACE_MS;
    return await new Promise((resolve, reject) => {
      // A load of which nothing is answered fails, and has its report all the same.
      execFile(program, all, { timeout, killSignal: 'SIGKILL', maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
        if (stdout.startsWith('{')) resolve(JSON.parse(stdout) as LoadReport);
        else reject(new Error(`kerb offload: ${stderr.trim() || error?.message}`));
      });
    });
  }

  /** One vehicle of another tenant that attacks until it is stopped. */
  async attack(name: string): Promise<Daemon> {
    const { vehicle } = await this.identities('attacker');
    const args = [join(attacks, 'attack-process.ts'), name, this.url, vehicle, this.#digest];
    const daemon = this.#spawn(1, ATTACKER_NICE, args);
    await daemon.nextLine();
    return daemon;
  }

  /** So many vehicles that are connected and ask for nothing. @throws Error when not all are let in */
  async idle(count: number): Promise<Daemon> {
    const authority = join(this.folder, 'identity/ca');
    const args = [join(attacks, 'idle-vehicles.ts'), String(count), this.url, authority, 'idle'];
    const daemon = this.#spawn(1, 0, args);
    const { connected, why } = JSON.parse(await daemon.nextLine()) as { connected: number; why: string };
    if (connected === count) return daemon;
    await daemon.stop();
    throw new Error(`${connected} of ${count} vehicles were let in: ${why}`);
  }

  get brokerEnded(): boolean {
    return this.#broker?.ended !== false;
  }

  /** KiB of the broker without its tenders. */
  memoryKib(): number {
    return proportionalKib(this.pid);
  }

  /** Microseconds of processor so far: the main thread of the broker, and all of its tenders. */
  computed(): { broker: number; tenders: number } {
    const [broker, ...tenders] = familyOf(this.pid);
    const sum = tenders.reduce((all, pid) => all + familyOf(pid).reduce((one, each) => one + computedUs(each), 0), 0);
    return { broker: computedUs(broker!), tenders: sum };
  }

  /** Calls of tenders so far, good and bad ones. */
  async runs(): Promise<number> {
    const text = await getControl(join(this.folder, 'api.sock'), '/metrics');
    const counts = text.matchAll(/^broker_guest_memory_bytes_count\{[^}]*\} (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  async stop(): Promise<void> {
    for (const daemon of this.#daemons.splice(0).reverse()) await daemon.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  #spawn(core: 0 | 1, niceness: number, args: readonly string[], env: Readonly<Record<string, string>> = {}): Daemon {
    const [program, all] = pinned(core, niceness, args);
    const daemon = new Daemon(all, program, env);
    this.#daemons.push(daemon);
    return daemon;
  }
}

/** Runs `use` with a broker of its own. @param flags of `kerb broker serve` */
export async function withRig<T>(use: (rig: BrokerRig) => Promise<T>, ...flags: string[]): Promise<T> {
  const rig = new BrokerRig();
  try {
    await rig.start(...flags);
    return await use(rig);
  } finally {
    await rig.stop();
  }
}
