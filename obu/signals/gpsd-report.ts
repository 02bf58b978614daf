/** Reads gpsd's JSON protocol (gpsd_json(5)): where the vehicle is, in the units of VSS 6.0. */
import type { SignalDatum, SignalInfo } from '../../shared/vss/signal.ts';
import type { VssLeaf } from '../../shared/vss/vss-mapping.ts';

const LOCATION = 'Vehicle.CurrentLocation';

interface PositionLeaf {
  readonly path: string;
  readonly datatype: string;
  readonly unit: string;
  readonly limits: readonly [min?: number, max?: number];
  readonly description: string;
}

const leaves: readonly PositionLeaf[] = [
  leaf('Latitude', 'degrees', [-90, 90], 'Latitude in WGS 84, as measured at the antenna'),
  leaf('Longitude', 'degrees', [-180, 180], 'Longitude in WGS 84, as measured at the antenna'),
  leaf('Altitude', 'm', [], 'Altitude above the WGS 84 ellipsoid, as measured at the antenna'),
  leaf('Heading', 'degrees', [0, 360], 'Heading relative to geographic north'),
  leaf('HorizontalAccuracy', 'm', [], 'Accuracy of latitude and longitude'),
  leaf('VerticalAccuracy', 'm', [], 'Accuracy of the altitude'),
  { ...leaf('Timestamp', '', [], 'Time of the position by the receiver, ISO 8601 in UTC'), datatype: 'string' },
  { path: 'Vehicle.Speed', datatype: 'float', unit: 'km/h', limits: [], description: 'Vehicle speed' },
];

function leaf(name: string, unit: string, limits: PositionLeaf['limits'], description: string): PositionLeaf {
  return { path: `${LOCATION}.${name}`, datatype: 'double', unit, limits, description };
}

/** Paths that gpsd feeds. */
export const gpsdPaths: readonly string[] = leaves.map(({ path }) => path);

/** The leaves that gpsd feeds and that no file of the configuration describes. */
export function gpsdLeaves(known: ReadonlySet<string>): VssLeaf[] {
  return leaves
    .filter(({ path }) => !known.has(path))
    .map(({ limits: [min, max], ...rest }) => {
      const info: SignalInfo = { ...rest, type: 'sensor', comment: '', deprecation: '', min, max, allowed: undefined };
      return { file: 'signals.gpsd', path: rest.path, info, feed: undefined, target: undefined, providedTtlMs: 0 };
    });
}

export type GpsdReport =
  /** By path; one that the receiver does not know is missing. */
  | { readonly kind: 'fix'; readonly device: string; readonly values: ReadonlyMap<string, SignalDatum> }
  | { readonly kind: 'none'; readonly device: string; readonly reason: string }
  /** Of no meaning here, such as the satellites in view. */
  | { readonly kind: 'other' }
  /** Not what gpsd may send. */
  | { readonly kind: 'bad'; readonly reason: string };

/** Reads one line, without its end. */
export function readGpsdLine(line: string): GpsdReport {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch {
    return { kind: 'bad', reason: 'it sent a line that is not JSON' };
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    return { kind: 'bad', reason: 'it sent JSON that is not an object' };
  }
  const report = raw as Readonly<Record<string, unknown>>;
  const device = String(report.device ?? report.path ?? '');
  if (report.class === 'TPV') return readPosition(report, device);
  if (report.class === 'DEVICE' && report.activated === 0)
    return { kind: 'none', device, reason: 'its receiver was removed' };
  if (typeof report.class !== 'string') return { kind: 'bad', reason: 'it sent JSON without a class' };
  return { kind: 'other' };
}

function readPosition(report: Readonly<Record<string, unknown>>, device: string): GpsdReport {
  const mode = report.mode;
  if (mode === 0 || mode === 1) return { kind: 'none', device, reason: 'its receiver has no fix' };
  if (mode !== 2 && mode !== 3) return { kind: 'bad', reason: 'it sent a TPV with a mode other than 0 to 3' };
  const latitude = within(report.lat, -90, 90);
  const longitude = within(report.lon, -180, 180);
  if (latitude === undefined || longitude === undefined) {
    return { kind: 'bad', reason: 'it sent a fix without a latitude and longitude on Earth' };
  }
  const speed = within(report.speed, 0, 1000);
  // eph is of gpsd 3.20 and later; before, there were only the two axes.
  const [x, y] = [within(report.epx, 0), within(report.epy, 0)];
  const bothAxes = x === undefined || y === undefined ? undefined : Math.hypot(x, y);
  const all: [name: string, value: SignalDatum | undefined][] = [
    [`${LOCATION}.Latitude`, latitude],
    [`${LOCATION}.Longitude`, longitude],
    [`${LOCATION}.Altitude`, mode === 3 ? within(report.altHAE, -20_000, 100_000) : undefined],
    [`${LOCATION}.Heading`, within(report.track, 0, 360)],
    [`${LOCATION}.HorizontalAccuracy`, within(report.eph, 0) ?? bothAxes],
    [`${LOCATION}.VerticalAccuracy`, mode === 3 ? within(report.epv, 0) : undefined],
    [`${LOCATION}.Timestamp`, timeOf(report.time)],
    ['Vehicle.Speed', speed === undefined ? undefined : speed * 3.6],
  ];
  const values = all.filter((entry): entry is [string, SignalDatum] => entry[1] !== undefined);
  return { kind: 'fix', device, values: new Map(values) };
}

function within(value: unknown, min: number, max = Number.MAX_VALUE): number | undefined {
  return typeof value === 'number' && value >= min && value <= max ? value : undefined;
}

function timeOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return undefined;
  return Number.isNaN(Date.parse(value)) ? undefined : value;
}
