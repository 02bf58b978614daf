import { Counter, Gauge, Histogram } from 'prom-client';
import { createRegistry } from '../../shared/api/metrics.ts';
import type { ContainerUsage } from '../../shared/api/obu.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { ContainerMetrics } from './container-metrics.ts';

/** The Prometheus metrics of an OBU. */
export class ObuMetrics {
  /** Every metric of an OBU, for the reference too. */
  readonly registry = createRegistry();
  readonly #containers = new ContainerMetrics(this.registry);
  readonly #canDropped = this.#counter('obu_can_frames_dropped_total', 'CAN frames that a slow workload lost', [
    'workload',
  ]);
  readonly #canDenied = this.#counter('obu_can_frames_denied_total', 'CAN frames that a workload was not let send', [
    'workload',
    'reason',
  ]);
  readonly #picturesDropped = this.#counter('obu_camera_frames_dropped_total', 'Pictures that a slow workload lost', [
    'workload',
  ]);
  readonly #workloadFaults = this.#counter(
    'obu_workload_faults_total',
    'What a workload was refused, or did that it may not',
    ['workload', 'reason'],
  );
  readonly #signalsDropped = this.#counter('obu_signals_dropped_total', 'Signal values that a slow workload lost', [
    'workload',
  ]);
  readonly #signalsWithout = this.#counter(
    'obu_signals_without_value_total',
    'CAN values that are not available or not valid',
    ['reason'],
  );
  readonly #signalPaths = new Gauge({
    name: 'obu_signal_paths',
    help: 'Paths of signals: all, those that have had a value, and those whose value is stale',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  readonly #gpsdState = new Gauge({
    name: 'obu_gpsd_state',
    help: '1 for the state of the connection to gpsd: Fix, NoFix or Disconnected',
    labelNames: ['state'],
    registers: [this.registry],
  });
  readonly #signalLatency = new Histogram({
    name: 'obu_signal_latency_seconds',
    help: 'From the CAN frame that carried a signal until it was handed to the socket of a workload',
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1],
    registers: [this.registry],
  });
  readonly #offloads = this.#counter('obu_offloads_total', 'Offloads of workloads that ended', ['result']);
  readonly #canFrames = this.#counter('obu_can_frames_total', 'CAN frames seen and sent', ['bus', 'direction']);
  readonly #canErrors = this.#counter('obu_can_error_frames_total', 'Error frames of the controller of a bus', ['bus']);
  readonly #restarts = this.#counter('obu_workload_restarts_total', 'How often a workload was started again', [
    'workload',
  ]);
  readonly #preemptions = this.#counter(
    'obu_preemptions_total',
    'How often a workload was frozen or stopped to make room, and for what: a workload, capacity or a pressure',
    ['victim', 'by'],
  );
  readonly #state = new Gauge({
    name: 'obu_workload_state',
    help: '1 for the state that a workload is in',
    labelNames: ['workload', 'state'],
    registers: [this.registry],
  });
  readonly #identityExpiry = new Gauge({
    name: 'obu_identity_expiry_timestamp_seconds',
    help: 'When the certificate of this vehicle expires, seconds since 1970; left out when there is none',
    labelNames: ['vehicle'],
    registers: [this.registry],
  });
  readonly #identityState = new Gauge({
    name: 'obu_identity_state',
    help: '1 for the state that the identity of this vehicle is in',
    labelNames: ['state'],
    registers: [this.registry],
  });
  readonly #clockBehind = new Gauge({
    name: 'obu_clock_behind',
    help: '1 when the clock is before the newest time that this OBU knows of: it has not been set',
    registers: [this.registry],
  });

  #counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  canDropped(workload: string): void {
    this.#canDropped.inc({ workload });
  }

  canDenied(workload: string, reason: string, frames = 1): void {
    this.#canDenied.inc({ workload, reason }, frames);
  }

  /** CAN frames that a workload was not let send, by reason. */
  async deniedTo(workload: string): Promise<Readonly<Record<string, number>>> {
    const { values } = await this.#canDenied.get();
    const own = values.filter(({ labels }) => labels.workload === workload);
    return Object.fromEntries(own.map(({ labels, value }) => [String(labels.reason), value]));
  }

  pictureDropped(workload: string): void {
    this.#picturesDropped.inc({ workload });
  }

  /** @param reason name of an error code */
  workloadFault(workload: string, reason: string): void {
    this.#workloadFaults.inc({ workload, reason });
  }

  signalsDropped(workload: string, count: number): void {
    this.#signalsDropped.inc({ workload }, count);
  }

  preempted(victim: string, by: string): void {
    this.#preemptions.inc({ victim, by });
  }

  signalLatency(seconds: number): void {
    this.#signalLatency.observe(seconds);
  }

  offload(result: 'ok' | 'failed'): void {
    this.#offloads.inc({ result });
  }

  /** Prometheus text, with what the parts of the OBU count themselves read now. */
  async text(
    status: ObuStatus,
    buses: readonly { readonly name: string; readonly bus: CanBus }[],
    usage: readonly ContainerUsage[],
  ): Promise<string> {
    this.#containers.set(usage);
    // These count elsewhere, from zero up, for as long as the OBU runs: the value is set, not added.
    this.#canFrames.reset();
    this.#canErrors.reset();
    for (const { name, bus } of buses) {
      this.#canFrames.inc({ bus: name, direction: 'received' }, bus.stats.framesReceived);
      this.#canFrames.inc({ bus: name, direction: 'sent' }, bus.stats.framesSent);
      this.#canErrors.inc({ bus: name }, bus.stats.errorFrames);
    }
    const { paths, withValue, stale, invalid, ignored, gpsd } = status.signals;
    this.#signalsWithout.reset();
    this.#signalsWithout.inc({ reason: 'invalid' }, invalid);
    this.#signalsWithout.inc({ reason: 'unmapped' }, ignored);
    for (const [kind, count] of Object.entries({ all: paths, withValue, stale }))
      this.#signalPaths.set({ kind }, count);
    this.#gpsdState.reset();
    if (gpsd !== undefined) this.#gpsdState.set({ state: gpsd.state }, 1);
    this.#setTime(status);
    this.#restarts.reset();
    this.#state.reset();
    for (const { name, state, restarts } of status.workloads) {
      this.#restarts.inc({ workload: name }, restarts);
      this.#state.set({ workload: name, state }, 1);
    }
    return this.registry.metrics();
  }

  #setTime({ vehicle, identity, clock }: ObuStatus): void {
    this.#identityExpiry.reset();
    this.#identityState.reset();
    this.#clockBehind.set(clock.behind ? 1 : 0);
    if (identity === undefined) return;
    this.#identityState.set({ state: identity.state }, 1);
    if (identity.expiresAt !== '') this.#identityExpiry.set({ vehicle }, Date.parse(identity.expiresAt) / 1000);
  }

  get contentType(): string {
    return this.registry.contentType;
  }
}
