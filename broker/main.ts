import type { BrokerStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError } from '../shared/base/errors.ts';
import type { Logger } from '../shared/base/log.ts';
import { RunningParts } from '../shared/base/running-parts.ts';
import type { Identity } from '../shared/identity/identity.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import { snapshotsOf } from './api/snapshots.ts';
import { startApi } from './api/start-api.ts';
import type { BrokerConfig } from './config.ts';
import type { Ingress } from './ingress/ingress.ts';
import { Drain } from './offloads/drain.ts';
import type { Offloads } from './offloads/offloads.ts';
import type { CreateTender } from './offloads/served-tasks.ts';
import { type SessionEnd, Sessions } from './offloads/sessions.ts';
import { startTasks } from './offloads/start-tasks.ts';
import { loadPackages } from './packages/load-packages.ts';
import { startFront } from './start-front.ts';
import { startStorage } from './start-storage.ts';
import type { RunThread } from './storage/database-thread.ts';
import { BrokerTelemetry } from './telemetry/telemetry.ts';
import { startPolicy } from './tenants/start-policy.ts';

/** Parts that a test may put in the place of the real ones. */
export interface BrokerParts {
  readonly log: Logger;
  readonly createTender?: CreateTender;
  /** Starts the threads of the databases; tests run them without a thread. */
  readonly runThread?: RunThread;
  /** Aborted: the start is taken back. */
  readonly signal?: AbortSignal;
  /** Aborted: a stop waits no longer for what runs. */
  readonly hurry?: AbortSignal;
}

export interface RunningBroker {
  readonly url: string;
  readonly port: number;
  /** Of the API over TLS; undefined when it is not served or does not listen yet. */
  apiPort(): number | undefined;
  status(): BrokerStatus;
  /** Reads anew what may change while it runs: the policy and the identity. What cannot be used is reported, and what was there stays. */
  reload(): Promise<void>;
  /**
   * Takes nothing new, tells vehicles, lets what runs come to its end for a short time, and leaves nothing behind.
   * @param by who wants it, for the audit log
   */
  stop(by?: string): Promise<void>;
}

/**
 * Starts a broker: verifies the packages, has a tender waiting for each that is to be ready ahead, then listens.
 * @throws KerbError BadIdentity | BadConfig | ApiUnavailable | Cancelled. What had been started is stopped again.
 */
export async function startBroker(config: BrokerConfig, parts: BrokerParts): Promise<RunningBroker> {
  const { log, signal, createTender, runThread } = parts;
  const running = new RunningParts(log);
  return await running.startAll(async () => {
    const identity = await ownIdentity(config);
    const telemetry = new BrokerTelemetry({ broker: config.id, audit: config.audit, log });
    await running.begin('telemetry', telemetry);
    const { metrics, errors, activity } = telemetry;
    const policy = await startPolicy(running, config, { errors, log });
    const { tenants } = policy;
    const storageParts = { config, identity, policy, metrics, errors, runThread, log };
    const { results, receipts, state, stateMetrics } = await startStorage(running, storageParts);
    const { store, pushed, floors, checkKeys } = await loadPackages(config, errors, log, tenants);
    policy.onChange(checkKeys);
    const taskParts = { config, store, policy, results, metrics, errors, log, createTender, signal };
    const tasks = await startTasks(running, taskParts);
    const { offloads, served } = tasks;
    telemetry.taskOf = (digest) => served.taskOf(digest);
    const onEnd = (end: SessionEnd) => stateMetrics.ended(end);
    offloads.useSessions(new Sessions({ broker: config.id, store: state, rules: tenants, onEnd }));
    offloads.runs.onRun = (pending) => activity.started(pending);
    let ingress: Ingress | undefined;
    const drain = new Drain({
      activity,
      notify: (endsInMs, tryBrokers) => ingress?.drain(endsInMs, tryBrokers),
      recall: () => ingress?.recall(),
      onChange: (change) => telemetry.drained(change),
    });
    offloads.refuseNewBy(() => drain.refusal());
    const kept = { store, pushed, results, receipts, state, stateMetrics };
    const front = { config, identity, policy, telemetry, log, ...tasks, ...kept, drain };
    const started = await startFront(running, { ...front, rules: tenants });
    ingress = started.ingress;
    policy.onChange(() => ingress?.policyChanged());
    const ending = new Ending(config, offloads, drain, parts.hurry);
    await running.begin('offloads', ending);

    const { port } = ingress;
    const url = urlOf(config, port);
    const shown = { config, url, ...started, ...tasks, results: results.kept, store, telemetry, drain, policy };
    const snapshots = snapshotsOf(shown);
    const operators = () => tenants.policy.operators;
    const data = { state, results: results.kept, store, served, telemetry, announce: () => ingress?.announce() };
    const versions = { floors, telemetry, review: started.reviewPackages };
    const remote = await startApi(running, { config, telemetry, drain, snapshots, data, versions, operators, log });
    telemetry.audit({ event: 'start', by: 'kerb broker serve', detail: url });
    log.info({ broker: config.id, url, path: config.apiSocket, count: served.size }, 'the broker takes offloads');
    let stopped: Promise<void> | undefined;
    const stop = async (by: string) => {
      telemetry.audit({ event: 'stop', by });
      await ending.begin(by);
      await running.stop();
    };
    return {
      ...{ url, port, status: snapshots.status, apiPort: () => remote?.port },
      reload: async () => void (await Promise.all([policy.reload(), started.reloadIdentity()])),
      stop: (by = 'stop') => {
        stopped ??= stop(by);
        return stopped;
      },
    };
  }, signal);
}

function urlOf({ listen: { host } }: BrokerConfig, port: number): string {
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Lets what runs come to its end, once, before the parts are stopped. */
class Ending {
  readonly #config: BrokerConfig;
  readonly #offloads: Offloads;
  readonly #drain: Drain;
  readonly #hurry: AbortSignal | undefined;
  #hasWaited = false;

  constructor(config: BrokerConfig, offloads: Offloads, drain: Drain, hurry: AbortSignal | undefined) {
    this.#config = config;
    this.#offloads = offloads;
    this.#drain = drain;
    this.#hurry = hurry;
  }

  /** Vehicles and the API are still there: who asks is told where to go. */
  async begin(by: string): Promise<void> {
    this.#drain.begin({ forMs: this.#config.limits.stopMs, to: this.#config.drainTo ?? [], by }, true);
    await this.stop();
  }

  async stop(): Promise<void> {
    const ended = this.#offloads.stop(this.#hasWaited ? 0 : this.#config.limits.stopMs);
    this.#hasWaited = true;
    const hurry = this.#hurry;
    if (hurry === undefined) return ended;
    await Promise.race([ended, aborted(hurry)]);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** @throws KerbError BadIdentity */
async function ownIdentity({ id, identityDir }: BrokerConfig): Promise<Identity> {
  const identity = await loadIdentity(identityDir, 'broker');
  if (identity.self.id === id) return identity;
  throw new KerbError(
    ErrorCode.BadIdentity,
    `the identity in ${identityDir} is of broker ${identity.self.id}, not ${id}; give the right --id or --identity`,
  );
}
