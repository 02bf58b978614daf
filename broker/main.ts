import { jsonReply } from '../shared/api/control-routes.ts';
import { createControlServer } from '../shared/api/control-server.ts';
import { RecentErrors } from '../shared/api/recent-errors.ts';
import type { BrokerStatus } from '../shared/api/status.ts';
import { ErrorCode, KerbError } from '../shared/base/errors.ts';
import type { Logger } from '../shared/base/log.ts';
import { RunningParts } from '../shared/base/running-parts.ts';
import type { Identity } from '../shared/identity/identity.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import { type BrokerConfig, DEFAULT_RESULT_LIMITS } from './config.ts';
import { startIngress } from './ingress/start-ingress.ts';
import type { CreateTender } from './offloads/served-tasks.ts';
import { startTasks } from './offloads/start-tasks.ts';
import { loadPackages } from './packages/load-packages.ts';
import { startResults } from './results/start-results.ts';
import { BrokerMetrics } from './telemetry/metrics.ts';

/** What a test may put in the place of real parts. */
export interface BrokerParts {
  readonly log: Logger;
  readonly createTender?: CreateTender;
  /** Aborted: the start is taken back. */
  readonly signal?: AbortSignal;
}

export interface RunningBroker {
  readonly url: string;
  readonly port: number;
  status(): BrokerStatus;
  /** Takes nothing new, lets what runs come to its end for a short time, and leaves nothing behind. */
  stop(): Promise<void>;
}

/**
 * Starts a broker: verifies the packages, has a tender waiting for each that is to be ready ahead, then listens.
 * @throws KerbError BadIdentity | BadConfig | ApiUnavailable | Cancelled. What had been started is stopped again.
 */
export async function startBroker(config: BrokerConfig, parts: BrokerParts): Promise<RunningBroker> {
  const { log, signal } = parts;
  const running = new RunningParts(log);
  return await running.startAll(async () => {
    const identity = await ownIdentity(config);
    const errors = new RecentErrors();
    const metrics = new BrokerMetrics();
    const limitsOf = () => DEFAULT_RESULT_LIMITS;
    const { results, receipts } = await startResults(running, { config, identity, limitsOf, metrics, errors, log });
    const { store, pushed } = await loadPackages(config, errors, log);
    const { createTender } = parts;
    const tasks = await startTasks(running, { config, store, results, metrics, errors, log, createTender, signal });
    const { admission, offloads, served } = tasks;
    const shared = { config, store, metrics, errors, log };
    const ingress = await startIngress(running, { ...shared, identity, receipts, offloads, served, pushed });
    await running.begin('offloads', { stop: () => offloads.stop(config.limits.stopMs) });

    const { host } = config.listen;
    const { port } = ingress;
    const url = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
    const startedAt = new Date().toISOString();
    const status = (): BrokerStatus => ({
      broker: config.id,
      startedAt,
      url,
      clients: ingress.clients,
      queued: admission.queued,
      offloads: offloads.counts(),
      packages: served.status(),
      rejected: store.rejected.map(({ path, error }) => ({ path, reason: error.message })),
      results: results.status(),
      errors: errors.list(),
    });
    const control = createControlServer({
      socketPath: config.apiSocket,
      routes: {
        'GET /v1/status': () => jsonReply(status()),
        'GET /metrics': async () => ({ type: metrics.registry.contentType, body: await metrics.registry.metrics() }),
      },
      log,
    });
    await running.begin('control', control);
    log.info({ broker: config.id, url, path: config.apiSocket, count: served.size }, 'the broker takes offloads');
    return { url, port, status, stop: () => running.stop() };
  }, signal);
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
