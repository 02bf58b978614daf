import { workloadWhy } from '../../obu/api/workload-why.ts';
import type { GpsdStatus, ObuStatus } from '../../shared/api/status.ts';
import { table as columns } from '../../shared/text/table.ts';

/** A status as lines for a person. */
export function statusLines(status: ObuStatus): string[] {
  const { engine, signals } = status;
  const { memory, cpus, pressure } = status.resources;
  return [
    `OBU ${status.obu} of vehicle ${status.vehicle}, up since ${status.startedAt}`,
    ...identityLines(status),
    `engine: Docker ${engine.version} (${engine.kind}) at ${engine.host}${engine.fault && `; ${engine.fault}`}`,
    `declared by workloads: ${inUse(memory, 2 ** 20)} MiB of memory, ${inUse(cpus, 1)} CPUs; pressure: ${pressure}`,
    '',
    ...busTable(status.buses),
    `signals: ${signals.withValue} of ${signals.paths} paths have a value`,
    ...(signals.gpsd ? [gpsdLine(signals.gpsd)] : []),
    ...warningLines(signals),
    '',
    ...cameraTable(status.cameras),
    ...recordingTable(status.cameras),
    ...workloadTable(status.workloads),
    ...placeTable(status.places),
    offloadLine(status.offloads),
    ...status.errors.slice(-5).map(({ time, source, message }) => `${time} ${source}: ${message}`),
  ];
}

function gpsdLine({ address, state, reason, fixes, invalid }: GpsdStatus): string {
  const bad = invalid === 0 ? '' : `, ${invalid} invalid lines`;
  return `gpsd at ${address}: ${withReason(state, reason)}, ${fixes} fixes${bad}`;
}

function busTable(buses: ObuStatus['buses']): string[] {
  return table(
    ['BUS', 'KIND', 'STATE', 'FRAMES/S', 'LOAD', 'DROPPED', 'ERRORS'],
    buses.map((bus) => [
      bus.name,
      bus.kind,
      withReason(bus.state, bus.reason),
      bus.framesPerSecond.toFixed(0),
      `${(100 * bus.load).toFixed(1)} %`,
      String(bus.dropped),
      String(bus.errorFrames),
    ]),
  );
}

function cameraTable(cameras: ObuStatus['cameras']): string[] {
  return table(
    ['CAMERA', 'STATE', 'PICTURES/S', 'CONSUMERS', 'SOURCE'],
    cameras.map((camera) => [
      camera.name,
      withReason(camera.state, camera.reason),
      camera.fps.toFixed(1),
      String(camera.consumers),
      camera.simulated ? `${camera.source} (simulated)` : camera.source,
    ]),
  );
}

/** Of the cameras that are recorded. */
function recordingTable(cameras: ObuStatus['cameras']): string[] {
  const rows = cameras.flatMap(({ name, recording }) => {
    if (recording === undefined) return [];
    const { state, reason, files, bytes, lockedBytes, events, folder } = recording;
    const sizes = [String(files), megabytes(bytes), megabytes(lockedBytes), String(events)];
    return [[name, withReason(state, reason), ...sizes, folder]];
  });
  return table(['RECORDING', 'STATE', 'FILES', 'SIZE', 'LOCKED', 'EVENTS', 'FOLDER'], rows);
}

function workloadTable(workloads: ObuStatus['workloads']): string[] {
  return table(
    ['WORKLOAD', 'PRIORITY', 'STATE', 'RESTARTS', 'WHY'],
    workloads.map((one) => [
      one.name,
      String(one.priority),
      one.detail === '' ? one.state : `${one.state}(${one.detail})`,
      String(one.restarts),
      workloadWhy(one),
    ]),
  );
}

/** What may be a long sentence comes last. */
function placeTable(places: ObuStatus['places']): string[] {
  return table(
    ['PLACE', 'URL', 'CONNECTED'],
    places.map(({ place, url, connected, reason, draining }) => [
      ...[place, url],
      connected ? (draining ? 'yes, draining: others are tried first' : 'yes') : withReason('no', reason),
    ]),
  );
}

/** Who it is to others, and since when it is: only what a person may have to do something about, or asked for. */
function identityLines({ identity, api, clock }: ObuStatus): string[] {
  const lines: string[] = [];
  if (clock.behind) lines.push(`clock: not set; it is ${clock.floor} at least (${clock.from})`);
  if (identity !== undefined) {
    const until = identity.expiresAt === '' ? '' : `, until ${identity.expiresAt}`;
    lines.push(`identity: ${withReason(identity.state, identity.reason)}${identity.reason === '' ? until : ''}`);
  }
  if (api !== undefined)
    lines.push(`API at ${api.listen}: ${withReason(api.listening ? 'listening' : 'waiting', api.reason)}`);
  return lines;
}

/** Times are of the last five seconds. Failures are in `total`: a budget that ran out is the slowest of all. */
function offloadLine({ ok, failed, perSecond, total, queue }: ObuStatus['offloads']): string {
  const counts = `offloads: ${ok} ok, ${failed} failed, ${perSecond.toFixed(1)}/s`;
  if (total.count === 0) return `${counts}; none ended lately`;
  const failedLately = total.count - queue.count;
  const share = failedLately === 0 ? '' : ` (${failedLately} of ${total.count} failed)`;
  return `${counts}; total p50 ${milliseconds(total.p50)}, p99 ${milliseconds(total.p99)}${share}`;
}

/** A time that was measured is never shown as 0.0. */
function milliseconds(ms: number): string {
  return `${ms < 1 ? ms.toFixed(3) : ms.toFixed(1)} ms`;
}

const MAX_WARNINGS = 5;

function warningLines({ warnings = [], warningCount = 0 }: ObuStatus['signals']): string[] {
  const more = warningCount - Math.min(warnings.length, MAX_WARNINGS);
  return [
    ...warnings.slice(0, MAX_WARNINGS).map((warning) => `  ${warning}`),
    ...(more > 0 ? [`  and ${more} more; kerb status -o json has them`] : []),
  ];
}

/** "192 of 1792 (256 reserved)". */
function inUse(
  part: { readonly total: number; readonly reserved: number; readonly used: number },
  unit: number,
): string {
  const number = (value: number) => String(Math.round((value / unit) * 100) / 100);
  return `${number(part.used)} of ${number(part.total - part.reserved)} (${number(part.reserved)} reserved)`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function withReason(state: string, reason: string): string {
  return reason === '' ? state : `${state}: ${reason}`;
}

/** Columns side by side and an empty line; nothing at all without rows. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : [...columns([head, ...rows]).map((line) => line.trimEnd()), ''];
}
