import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { type BrokerConfig, NO_PUSHES } from '../config.ts';
import { watchBrokerIdentity } from '../identity.ts';
import type { Offloads } from '../offloads/offloads.ts';
import type { ServedTasks } from '../offloads/served-tasks.ts';
import { TaskDescriptions } from '../packages/describe.ts';
import { PackageReview } from '../packages/package-review.ts';
import type { PackageStore } from '../packages/package-store.ts';
import { PackageUploads } from '../packages/package-uploads.ts';
import type { PushedPackages } from '../packages/pushed-packages.ts';
import type { ReceiptSigner } from '../results/receipt-signer.ts';
import type { KeyRequests } from '../state/key-requests.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import { TransferMetrics } from '../telemetry/transfer-metrics.ts';
import type { TenantRules } from '../tenants/policy.ts';
import type { RunningPolicy } from '../tenants/start-policy.ts';
import { ClientLog } from './client-log.ts';
import { encodeAnnouncement } from './codec.ts';
import type { EventOptions } from './events.ts';
import { Ingress } from './ingress.ts';
import type { ConnectedVehicle, NeighbourDoor } from './link-types.ts';
import { TRANSFER_LIMITS } from './transfers/transfer-link.ts';
import type { TransferOptions } from './transfers/transfers.ts';

export interface IngressParts {
  readonly config: BrokerConfig;
  readonly identity: Identity;
  readonly receipts: ReceiptSigner;
  readonly offloads: Offloads;
  readonly served: ServedTasks;
  readonly store: PackageStore;
  readonly keys: KeyRequests;
  readonly policy: RunningPolicy;
  readonly pushed: PushedPackages;
  readonly telemetry: BrokerTelemetry;
  readonly rules: Pick<TenantRules, 'limitsOf' | 'policyOf' | 'refusalOf' | 'mayRun' | 'maySee'>;
  /** For whoever asks which brokers there are. */
  readonly announcements: () => Uint8Array;
  readonly onRenewed: (identity: Identity) => void;
  readonly neighbours: NeighbourDoor & Pick<EventOptions, 'claim'>;
  /** A tenant's package has come to be here. */
  readonly onPackage: () => void;
  readonly log: Logger;
}

export interface RunningIngress {
  readonly ingress: Ingress;
  readonly uploads: PackageUploads;
  /** Looks at once whether the identity is another one. */
  reloadIdentity(): Promise<void>;
  /** Holds every package against the rules at once. */
  reviewPackages(): Promise<void>;
}

/** Lets vehicles in: for offloads and, where that is allowed, for pushes. */
export async function startIngress(running: RunningParts, parts: IngressParts): Promise<RunningIngress> {
  const { config, identity, offloads, served, store, telemetry, rules, log } = parts;
  const { errors, activity } = telemetry;
  const { id, identityDir: dir } = config;
  const { maxInput } = config.push ?? NO_PUSHES;
  // How much a message may hold is settled when the ingress starts.
  const largestInput = Math.max(served.announcement(id).maxInput, maxInput);
  const clients = new ClientLog(log, errors);
  const { uploads, reviewPackages } = await startUploads(running, parts, {
    clients,
    largestInput,
    announce: () => ingress.announce(),
  });

  // The store knows the tenants that have pushed a package; the rules say what follows from it.
  const ownersOf = (digest: string) => store.get(digest)?.owners;
  const mayRun = (tenant: string, digest: string) => rules.mayRun(tenant, ownersOf(digest));
  const maySee = (tenant: string, digest: string) => rules.maySee(tenant, ownersOf(digest));
  const descriptions = new TaskDescriptions(() => store.packages);
  const ingress = new Ingress({
    identity,
    listen: config.listen,
    maxInput: largestInput,
    maxClients: config.limits.maxClients,
    announcement: ({ tenant, version }) => {
      const announcement = served.announcement(id);
      const tasks = announcement.tasks.filter(({ digest }) => mayRun(tenant, digest));
      return encodeAnnouncement({ ...announcement, tasks, ...offloads.load() }, version);
    },
    limitsOf: (client) => rules.limitsOf(client),
    refusalOf: (client) => rules.refusalOf(client),
    submit: (offload, answer, link) => offloads.submit(offload, activity.follow(offload, answer), link),
    transfers: transferOptions(parts),
    onConnected: (client) => connected(client, telemetry),
    cancel: ({ tenant, id: vehicle }, offload) => offloads.cancel(tenant, vehicle, offload),
    linkLost: (_client, _openIds, link) => offloads.linkLost(link),
    describe: ({ tenant }, query) => descriptions.describe(query, (digest) => maySee(tenant, digest)),
    announcements: parts.announcements,
    neighbours: parts.neighbours,
    claim: (client, claim, answer) => parts.neighbours.claim(client, claim, answer),
    state: (client, request) => parts.keys.answer(client, request),
    pushes: (client) => uploads.session(client),
    clients,
    log,
  });
  await running.begin('ingress', ingress);
  const onRenewed = (renewed: Identity) => {
    ingress.renew(renewed);
    parts.receipts.renew(renewed);
    parts.onRenewed(renewed);
  };
  const watch = watchBrokerIdentity({ dir, id, errors, onRenewed, log });
  await running.begin('identity', watch);
  return { ingress, uploads, reloadIdentity: () => watch.look(), reviewPackages };
}

/** Takes what vehicles push, and judges all packages anew when the policy or the time changes what may be run. */
async function startUploads(
  running: RunningParts,
  parts: IngressParts,
  front: { readonly clients: ClientLog; readonly largestInput: number; readonly announce: () => void },
): Promise<{ readonly uploads: PackageUploads; readonly reviewPackages: () => Promise<void> }> {
  const { config, served, store, policy, pushed, telemetry, log } = parts;
  const { metrics, errors } = telemetry;
  const { clients, largestInput, announce } = front;
  const { tenants } = policy;
  const { limits } = config.push ?? NO_PUSHES;
  const changed = (change: () => void) => {
    change();
    review.watch();
    announce();
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
    onChanged: (event, client, digest) => {
      telemetry.package(event, client, digest);
      if (event === 'push') parts.onPackage();
    },
    onRefused: clients.refused,
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
    onChanged: announce,
    errors,
    log,
  });
  await running.begin('package review', review);
  const reviewPackages = () => review.review();
  policy.onChange(reviewPackages);
  return { uploads, reviewPackages };
}

/** An input that comes in chunks is an offload from its announcement on. */
function transferOptions({ config, offloads, telemetry }: IngressParts): TransferOptions {
  const { metrics, activity } = telemetry;
  const { maxQueuedBytes: maxBytes, maxJoined } = config.limits;
  return {
    limits: { ...TRANSFER_LIMITS, maxBytes, maxJoined },
    metrics: new TransferMetrics(metrics.registry),
    announce: (offload, answer, want, link) => {
      const followed = activity.follow(offload, answer);
      offloads.announce(offload, followed, () => want(followed), link);
    },
    arrived: (offload, followed, link) => offloads.submit(offload, followed, link),
  };
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
