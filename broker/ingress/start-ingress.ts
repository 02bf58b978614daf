import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { type BrokerConfig, NO_PUSHES } from '../config.ts';
import { watchBrokerIdentity } from '../identity.ts';
import type { Offloads } from '../offloads/offloads.ts';
import type { ServedTasks } from '../offloads/served-tasks.ts';
import { PackageReview } from '../packages/package-review.ts';
import type { PackageStore } from '../packages/package-store.ts';
import { PackageUploads } from '../packages/package-uploads.ts';
import type { PushedPackages } from '../packages/pushed-packages.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import { encodeAnnouncement } from './codec.ts';
import { type ConnectedVehicle, Ingress } from './ingress.ts';

export interface IngressParts {
  readonly config: BrokerConfig;
  readonly identity: Identity;
  readonly offloads: Offloads;
  readonly served: ServedTasks;
  readonly store: PackageStore;
  readonly policy: RunningPolicy;
  readonly pushed: PushedPackages;
  readonly telemetry: BrokerTelemetry;
  readonly log: Logger;
}

/** Lets vehicles in: for offloads and, where that is allowed, for pushes. */
export async function startIngress(running: RunningParts, parts: IngressParts): Promise<Ingress> {
  const { config, identity, offloads, served, store, policy, pushed, telemetry, log } = parts;
  const { metrics, errors, activity } = telemetry;
  const { id, identityDir: dir } = config;
  const { tenants } = policy;
  const { limits, maxInput } = config.push ?? NO_PUSHES;
  // How much a message may hold is settled when the ingress starts.
  const largestInput = Math.max(served.announcement(id).maxInput, maxInput);
  const onRefused = refusalLog(log, errors);
  const changed = (change: () => void) => {
    change();
    review.watch();
    ingress.announce();
  };
  const uploads = new PackageUploads({
    store,
    pushed,
    tenants,
    limits,
    maxInput: largestInput,
    policyFile: config.policyFile,
    onShared: () => void review.review(),
    onPushed: (taskPackage) => changed(() => served.add(taskPackage)),
    onRemoved: (digest) => changed(() => served.remove(digest)),
    onChanged: (event, client, digest) => telemetry.package(event, client, digest),
    onRefused,
    metrics,
    log,
  });
  await running.begin('package uploads', { stop: () => uploads.stop() });
  metrics.watchPushed(() => store.pushes());
  const review = new PackageReview({
    store,
    alone: (action) => uploads.alone(action),
    onRestored: (found) => served.add(found),
    onWithdrawn: (found) => served.withdraw(found),
    onChanged: () => ingress.announce(),
    errors,
    log,
  });
  await running.begin('package review', review);
  policy.onChange(() => review.review());

  const ingress = new Ingress({
    identity,
    listen: config.listen,
    maxInput: largestInput,
    maxClients: config.limits.maxClients,
    announcement: ({ tenant, version }) => {
      const { tasks, ...rest } = served.announcement(id);
      const mayRun = (digest: string) => tenants.mayRun(tenant, store.get(digest)?.owners);
      return encodeAnnouncement({ ...rest, tasks: tasks.filter(({ digest }) => mayRun(digest)) }, version);
    },
    submit: (offload, answer) => offloads.submit(offload, activity.follow(offload, answer)),
    onConnected: (client) => connected(client, telemetry),
    pushes: (client) => uploads.session(client),
    onRefused,
    log,
  });
  await running.begin('ingress', ingress);
  const watch = watchBrokerIdentity({ dir, id, errors, onRenewed: (renewed) => ingress.renew(renewed), log });
  await running.begin('identity', watch);
  return ingress;
}

/** @returns says that the connection has ended */
function connected(client: ConnectedVehicle, { activity, events }: BrokerTelemetry): () => void {
  const gone = activity.connected(client);
  events.add('vehicle', client.tenant, 'Connected', `vehicle ${client.id}`);
  return () => {
    gone();
    events.add('vehicle', client.tenant, 'Disconnected', `vehicle ${client.id}`);
  };
}

/** Says who was refused and why, ten times a second at most: a client must not be able to fill the disk. */
function refusalLog(log: Logger, errors: RecentErrors): (client: string, error: KerbError) => void {
  let quietUntil = 0;
  let unsaid = 0;
  return (client, error) => {
    errors.add(client, error.code, error.message);
    const now = performance.now();
    if (now < quietUntil) {
      unsaid++;
      return;
    }
    log.warn({ client, code: error.code, err: error.message, count: unsaid }, 'a client was refused');
    quietUntil = now + 100;
    unsaid = 0;
  };
}
