import type { BrokerStatus, ObuStatus, RecentError } from '../../shared/api/status.ts';
import type { Quantiles } from '../../shared/base/rolling.ts';
import { formatClock } from '../../shared/text/duration.ts';
import { table } from '../../shared/text/table.ts';

/** Everything that a person is shown, read from the daemons' control sockets. */
export interface DriveView {
  /** What is being done while not everything runs yet; empty afterwards. */
  readonly step: string;
  readonly elapsedMs: number;
  /** Milliseconds until it stops by itself; undefined when it does not. */
  readonly remainingMs: number | undefined;
  /** What they said last; undefined before they said anything. */
  readonly obu: ObuStatus | undefined;
  readonly broker: BrokerStatus | undefined;
  /** For how long they have not answered, in milliseconds; undefined while they do. */
  readonly obuSilentMs?: number | undefined;
  readonly brokerSilentMs?: number | undefined;
  /** What happened to our own child processes. */
  readonly errors: readonly RecentError[];
  /** Those that are not shown, by `errorKey`: what went wrong while all was starting. */
  readonly errorsKnown: ReadonlySet<string>;
  readonly picturesFolder: string;
}

/** A silence this long, in milliseconds, is a failure of the job. */
const TOO_SILENT_MS = 10_000;

const count = (n: number) => Math.round(n).toLocaleString('en-US');
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
const silence = (silentMs: number) => `no answer for ${(silentMs / 1000).toFixed(1)} s`;
const ms = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
const state = (workload: { state: string; detail: string }) =>
  workload.detail ? `${workload.state}(${workload.detail})` : workload.state;

/** Tells errors apart; the same one again has another time. Nothing is compared with a clock, which may be set. */
export function errorKey({ time, source, code, message }: RecentError): string {
  return JSON.stringify([time, source, code, message]);
}

/** A quantile in milliseconds, or a dash where there was nothing to measure. */
function time(quantiles: Quantiles, of: 'p50' | 'p99' | 'max'): string {
  return quantiles.count === 0 ? '–' : ms(quantiles[of]);
}

/** Why no offload goes there: it says nothing, or there is no connection. */
function placeTrouble({ reason }: ObuStatus['places'][number]): string {
  return reason.startsWith('no answer') ? reason : `not connected: ${reason}`;
}

/** The newest errors of all daemons, newest last. */
export function recentErrors(view: DriveView, most: number): RecentError[] {
  return [...(view.obu?.errors ?? []), ...(view.broker?.errors ?? []), ...view.errors]
    .filter((error) => !view.errorsKnown.has(errorKey(error)))
    .sort((a, b) => a.time.localeCompare(b.time))
    .slice(-most);
}

/** The whole screen, a string a line, cut to `columns`. Pure. */
export function renderScreen(view: DriveView, columns: number): string[] {
  const { obu, broker } = view;
  const lines = [headLine(view)];
  if (view.step) lines.push('', view.step);
  if (view.obuSilentMs !== undefined) lines.push('', `OBU: ${silence(view.obuSilentMs)}; this is what it said before:`);
  if (obu) lines.push('', ...vehicleLines(obu), '', ...workloadLines(obu), '', ...offloadLines(obu));
  if (view.brokerSilentMs !== undefined) lines.push(`broker: ${silence(view.brokerSilentMs)}`);
  if (broker) lines.push(...broker.packages.map(taskLine));
  const errors = recentErrors(view, 5);
  lines.push('', errors.length === 0 ? 'LAST ERRORS  none' : 'LAST ERRORS');
  for (const error of errors) lines.push(`  ${formatError(error)}`);
  if (obu) lines.push('', `filtered pictures: ${view.picturesFolder}`);
  return lines.map((line) => (line.length > columns ? `${line.slice(0, Math.max(0, columns - 1))}…` : line));
}

function headLine({ obu, broker, elapsedMs, remainingMs }: DriveView): string {
  const vehicle = obu ? `vehicle ${obu.vehicle}, ${obu.obu}` : 'one vehicle';
  const edge = broker ? `broker ${broker.broker}` : 'one broker';
  const clock = remainingMs === undefined ? '' : `, ${formatClock(remainingMs)} to go`;
  return `Kerbside  ${vehicle} and ${edge}   up ${formatClock(elapsedMs)}${clock}   Ctrl-C stops`;
}

function vehicleLines({ buses, cameras, signals, engine }: ObuStatus): string[] {
  return table([
    ...buses.map((bus) => [
      `bus ${bus.name}`,
      bus.kind,
      bus.state + (bus.reason ? `: ${bus.reason}` : ''),
      `${count(bus.framesPerSecond)} frames/s   load ${percent(bus.load)} of ${count(bus.bitrate / 1000)} kbit/s   dropped ${count(bus.dropped)}`,
    ]),
    ...cameras.map((camera) => [
      `camera ${camera.name}`,
      camera.simulated ? 'simulated' : 'real',
      camera.state + (camera.reason ? `: ${camera.reason}` : ''),
      `${camera.fps.toFixed(1)} pictures/s   ${camera.consumers} consumer${camera.consumers === 1 ? '' : 's'}`,
    ]),
    ['signals', '', '', `${signals.withValue} of ${signals.paths} paths have a value`],
    ['engine', engine.kind, '', `Docker Engine ${engine.version} at ${engine.host}`],
  ]);
}

function workloadLines({ workloads }: ObuStatus): string[] {
  return table([
    ['WORKLOAD', 'PRIORITY', 'STATE', 'RESTARTS', 'LAST LINE, OR WHY'],
    ...workloads.map((w) => [
      w.name,
      String(w.priority),
      state(w),
      String(w.restarts),
      w.state === 'Running' && w.lastLine ? w.lastLine : w.reason,
    ]),
  ]);
}

/** How offloads go, and where they may go. */
function offloadLines({ offloads, places }: ObuStatus): string[] {
  const { perSecond, ok, failed, inFlight } = offloads;
  return [
    `OFFLOADS  ${perSecond.toFixed(1)} per second   ok ${count(ok)}   failed ${count(failed)}   in flight ${inFlight}`,
    ...timesTable(offloads, '  '),
    ...places.map((place) => `${place.place}  ${place.url}  ${place.connected ? 'connected' : placeTrouble(place)}`),
  ];
}

function timesTable(offloads: ObuStatus['offloads'], indent: string): string[] {
  return table([
    [`${indent}ms`, 'p50', 'p99', 'max'],
    ...(['total', 'queue', 'run'] as const).map((name) => [
      `${indent}${name}`,
      ...(['p50', 'p99', 'max'] as const).map((of) => time(offloads[name], of)),
    ]),
  ]);
}

function taskLine(task: BrokerStatus['packages'][number]): string {
  const tenders = `${task.tenders} ${task.tenders === 1 ? 'tender' : 'tenders'}`;
  const why = task.reason === '' ? '' : `: ${task.reason}`;
  return `  task ${task.name} ${task.version}  ${task.tender}, ${tenders}, isolation ${task.isolation}, ${count(task.calls)} calls, ${task.restarts} restarts${why}`;
}

export function formatError(error: RecentError): string {
  return `${error.time.slice(11, 19)} ${error.source}: ${error.message} [${error.code}]`;
}

/** The same in one line, for a log or a pipe. Pure. */
export function renderLine(view: DriveView): string {
  const parts = [formatClock(view.elapsedMs)];
  if (view.step) parts.push(view.step);
  const { obu, broker } = view;
  if (view.obuSilentMs !== undefined) parts.push(`OBU: ${silence(view.obuSilentMs)}`);
  if (obu) {
    for (const bus of obu.buses) {
      parts.push(`bus ${bus.name} ${count(bus.framesPerSecond)} frames/s load ${percent(bus.load)}`);
    }
    for (const w of obu.workloads) parts.push(`${w.name} ${state(w)}${w.state === 'Running' ? '' : ` ${w.reason}`}`);
    const { offloads: o } = obu;
    const pair = (name: string, q: Quantiles) => `${name} ${time(q, 'p50')}/${time(q, 'p99')}`;
    const none = o.queue.count === 0 && o.total.count > 0 ? ' (none succeeded lately)' : '';
    parts.push(
      `offloads ${o.perSecond.toFixed(1)}/s, p50/p99 ms ${pair('total', o.total)} ${pair('queue', o.queue)} ${pair('run', o.run)}, ok ${o.ok}, failed ${o.failed}${none}`,
    );
  }
  if (view.brokerSilentMs !== undefined) parts.push(`broker: ${silence(view.brokerSilentMs)}`);
  else if (!broker && !view.step) parts.push('broker does not answer');
  for (const place of obu?.places ?? []) {
    if (!place.connected && !view.step) parts.push(`${place.place} ${placeTrouble(place)}`);
  }
  return parts.join(' | ');
}

/** A sign of life while something takes its time: what it is, or all that is known. Pure. */
export function renderBeat(view: DriveView): string {
  return view.step === '' ? renderLine(view) : `${formatClock(view.elapsedMs)} | ${view.step}`;
}

export interface Summary {
  readonly ok: boolean;
  /** One sentence each; empty when `ok`. */
  readonly problems: readonly string[];
  readonly ranMs: number;
  readonly obu: ObuStatus | undefined;
  readonly broker: BrokerStatus | undefined;
  readonly errors: readonly RecentError[];
  readonly picturesFolder: string;
}

/** Whether the main job was done: every workload runs, and at least one offload succeeded. Pure. */
export function summarise(view: DriveView, startupError: string | undefined): Summary {
  const problems: string[] = [];
  if (startupError) problems.push(startupError);
  const { obu } = view;
  if (!obu) {
    if (!startupError) problems.push('the OBU never answered');
  } else {
    if (obu.workloads.length === 0) problems.push('the manifest has no workload');
    for (const w of obu.workloads) {
      if (w.state !== 'Running') problems.push(`workload ${w.name} is ${state(w)}: ${w.reason}`);
    }
    const { obuSilentMs = 0 } = view;
    if (obuSilentMs > TOO_SILENT_MS) problems.push(`the OBU hangs: ${silence(obuSilentMs)}`);
    if (obu.offloads.ok === 0) problems.push('no offload succeeded');
  }
  return {
    ok: problems.length === 0,
    problems,
    ranMs: view.elapsedMs,
    obu,
    broker: view.broker,
    errors: recentErrors(view, 10),
    picturesFolder: view.picturesFolder,
  };
}

export function renderSummary(summary: Summary): string[] {
  const lines = [`Summary after ${formatClock(summary.ranMs)}`];
  const { obu, broker } = summary;
  if (obu) {
    for (const bus of obu.buses) {
      lines.push(
        `  bus ${bus.name} (${bus.kind}): ${count(bus.frames)} frames since the OBU started, load ${percent(bus.load)}, ${count(bus.dropped)} dropped`,
      );
    }
    for (const camera of obu.cameras) {
      lines.push(
        `  camera ${camera.name} (${camera.simulated ? 'simulated' : 'real'}): ${camera.state}, ${camera.fps.toFixed(1)} pictures/s`,
      );
    }
    for (const w of obu.workloads) lines.push(`  workload ${w.name}: ${state(w)}, ${w.restarts} restarts`);
    const o = obu.offloads;
    lines.push(`  offloads: ${count(o.ok)} ok, ${count(o.failed)} failed`);
    if (o.ok > 0) {
      lines.push(...timesTable(o, '    '), `  filtered pictures: ${summary.picturesFolder}`);
    }
  }
  if (broker)
    lines.push(
      `  broker ${broker.broker}, since it started: ${count(broker.offloads.ok)} ok, ${broker.offloads.refused} refused, ${broker.offloads.failed} failed`,
    );
  for (const error of summary.errors) lines.push(`  error: ${formatError(error)}`);
  if (summary.ok) lines.push('  result: OK');
  else for (const problem of summary.problems) lines.push(`  result: FAILED: ${problem}`);
  return lines;
}
