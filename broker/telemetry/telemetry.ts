import { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { DrainChange } from '../offloads/drain.ts';
import type { TaskResult } from '../offloads/offload.ts';
import type { KeyAnswer, KeyAsker, KeyRequest } from '../state/key-requests.ts';
import { Activity } from './activity.ts';
import type { Asked } from './asked.ts';
import type { AuditConfig } from './audit-config.ts';
import { AuditFile } from './audit-file.ts';
import { type AuditedAction, AuditLog, lostLine } from './audit-log.ts';
import { BrokerEvents } from './broker-events.ts';
import { BrokerMetrics } from './metrics.ts';
import { NeighbourMetrics } from './neighbour-metrics.ts';
import { isMiss } from './tenant-records.ts';

const DRAIN_EVENTS = { Draining: 'drain', Drained: 'drained', Serving: 'serve' } as const;

export interface BrokerTelemetryOptions {
  readonly broker: string;
  /** Undefined: nothing is written. */
  readonly audit: AuditConfig | undefined;
  readonly log: Logger;
}

/** All that a broker tells of itself: metrics, events, recent errors, who does what, and the audit log. */
export class BrokerTelemetry {
  readonly metrics = new BrokerMetrics();
  readonly neighbours = new NeighbourMetrics(this.metrics.registry);
  readonly events = new BrokerEvents();
  readonly errors = new RecentErrors(20, (source, code, message) => this.events.error(source, code, message));
  readonly activity: Activity;
  /** Until there are tasks, none is known. */
  taskOf: (digest: string) => { readonly name: string; readonly version: string } | undefined = () => undefined;
  readonly #broker: string;
  readonly #log: Logger;
  readonly #audit: AuditLog | undefined;
  readonly #file: AuditFile | undefined;

  constructor({ broker, audit, log }: BrokerTelemetryOptions) {
    this.#broker = broker;
    this.#log = log;
    this.activity = new Activity({
      taskOf: (digest) => this.taskOf(digest),
      onAnswer: (asked, result, refusal) => this.#answered(asked, result, refusal),
      hashInputs: audit?.hashInputs ?? false,
    });
    if (audit === undefined) return;
    const file = new AuditFile({
      path: audit.file,
      maxBytes: audit.maxBytes,
      keep: audit.keep,
      lostLine: (count) => lostLine(broker, count),
      onFault: (reason) => {
        if (reason === '') {
          log.info({ path: audit.file }, 'the audit log is written again');
          return;
        }
        log.error({ path: audit.file, reason }, 'the audit log cannot be written');
        const message = `the audit log ${audit.file} cannot be written: ${reason}; see that its disk is not full`;
        this.errors.add('audit log', ErrorCode.StateUnavailable, message);
      },
    });
    this.#file = file;
    this.#audit = new AuditLog({ broker, write: (line) => file.add(line) });
    this.metrics.watchAudit(() => file.lost);
  }

  /** @throws KerbError BadConfig when the audit log cannot be written */
  async start(): Promise<void> {
    await this.#file?.start();
  }

  /** Writes what is left of the audit log. */
  async stop(): Promise<void> {
    this.#audit?.stop();
    await this.#file?.stop();
  }

  /** For the audit log. */
  audit(action: AuditedAction): void {
    this.#audit?.action(action);
  }

  /** This broker was taken out of service or put back, or has nothing left to do. */
  drained({ word, by, message }: DrainChange): void {
    this.events.add('drain', this.#broker, word, `${message} (${by})`);
    this.audit({ event: DRAIN_EVENTS[word], by, detail: message });
    this.#log.info(
      { broker: this.#broker, state: word, client: by, reason: message },
      'the broker changes its service',
    );
  }

  /** A tenant has pushed or removed a package. */
  package(event: 'push' | 'remove', { id, tenant }: VehiclePrincipal, digest: string): void {
    const { name: task, version } = this.taskOf(digest) ?? {};
    const what = task === undefined ? digest : `${task} ${version} (${digest})`;
    this.events.add('package', tenant, event === 'push' ? 'Pushed' : 'Removed', `${what} by vehicle ${id}`);
    this.audit({ event, by: `vehicle ${id}`, tenant, digest, task, version });
  }

  /** A request for one key of the state of a session has its answer. */
  state(client: KeyAsker, request: KeyRequest, answer: KeyAnswer): void {
    this.#audit?.state(client, request, answer);
  }

  #answered(asked: Asked, result: TaskResult | undefined, refusal: Refusal | undefined): void {
    const { tenant, vehicle, task, deadline } = asked;
    if (isMiss(asked, result, refusal)) this.metrics.missed(tenant, task);
    if (result !== undefined) this.metrics.answered(tenant, task, deadline.elapsedMs());
    if (refusal !== undefined) this.events.refused(tenant, vehicle, refusal);
    this.#audit?.answered(asked, result, refusal);
  }
}
