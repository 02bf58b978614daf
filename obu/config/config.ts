import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { ErrorCode, messageOf } from '../../shared/base/errors.ts';
import { type ListenAddress, parseListen } from '../../shared/host/listen.ts';
import { parseDuration } from '../../shared/text/duration.ts';
import { parseSize } from '../../shared/text/size.ts';
import { type Condition, parseCondition } from '../../shared/vss/condition.ts';
import { type Problem, problemsError } from '../../shared/yaml/problem.ts';
import { parseYaml } from '../../shared/yaml/yaml.ts';
import { CODECS, type Codec } from '../dashcam/recording/encoder.ts';
import { namePattern, nameRule } from '../manifest/values.ts';
import type { GpsdConfig } from '../signals/gpsd-source.ts';
import type { SignalsConfig } from '../signals/start.ts';
import { broker, id, type NamedBroker } from './broker-schema.ts';
import { type RuntimeConfig, runtimeConfigOf, runtimeKeys, runtimeShape } from './runtime-config.ts';

export interface BusConfig {
  readonly name: string;
  readonly kind: 'auto' | 'socketcan' | 'userspace';
  /** SocketCAN: the interface, when it is not called as the bus is. */
  readonly interface: string | undefined;
  /** Userspace bus: the socket of its process. */
  readonly socket: string | undefined;
  /** Bits per second, for the bus load. */
  readonly bitrate: number;
}

/** That a camera is recorded, and what of it is kept. Times in milliseconds. */
export interface RecordingConfig {
  /** Undefined: a folder of the state folder. */
  readonly folder: string | undefined;
  readonly codec: Codec;
  readonly fps: number;
  readonly keep: { readonly maxBytes: number; readonly maxAgeMs: number; readonly maxLockedBytes: number };
  readonly lock: { readonly when: Condition; readonly beforeMs: number; readonly afterMs: number } | undefined;
}

export interface CameraConfig {
  readonly name: string;
  readonly source: string;
  readonly recording: RecordingConfig | undefined;
}

/** The configuration of one OBU, as read from its file. Paths are absolute. */
export interface ObuConfig {
  readonly vehicle: string;
  readonly obu: string;
  readonly buses: readonly BusConfig[];
  readonly signals: SignalsConfig;
  readonly cameras: readonly CameraConfig[];
  readonly brokers: readonly NamedBroker[];
  /** Id of the one that keeps the state of sessions; undefined: the first. */
  readonly stateHome: string | undefined;
  /** Directory with the identity of this vehicle; needed when there are brokers, or an API over TLS. */
  readonly identity: string | undefined;
  /** Digest of the task package by the name that grants use. */
  readonly tasks: ReadonlyMap<string, string>;
  /** The control API over TLS; undefined: only the control socket. */
  readonly api:
    | { readonly listen: ListenAddress /** Ids in their certificates. */; readonly operators: readonly string[] }
    | undefined;
  readonly runtime: RuntimeConfig;
}

const name = z.string('must be a name').regex(namePattern, nameRule);
const path = z.string('must be a path').min(1, 'is empty');

const bus = z.strictObject(
  {
    kind: z.enum(['auto', 'socketcan', 'userspace'], 'must be auto, socketcan or userspace').optional(),
    interface: z
      .string('must be the name of a network interface')
      .regex(/^[^/:@\s]{1,15}$/, 'is not a valid name of a network interface')
      .optional(),
    socket: path.optional(),
    bitrate: z
      .number('must be bits per second, a number')
      .int('must be a whole number')
      .min(1000, 'must be at least 1000')
      .max(20_000_000, 'must be at most 20,000,000')
      .optional(),
  },
  'must be a map; {} for all defaults',
);

/** A text or number that a function turns into a value, or undefined when it is none. */
function read<Out>(parse: (text: string) => Out, rule: string) {
  return z.union([z.string(), z.number()], rule).transform((value, context): Out => {
    try {
      return parse(String(value));
    } catch (error) {
      context.addIssue({ code: 'custom', message: rule === '' ? messageOf(error) : rule });
      return z.NEVER;
    }
  });
}

const size = read((text) => {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new Error(text);
  return bytes;
}, 'must be a size such as 500m or 2g');
const duration = read(parseDuration, 'must be a duration such as 30s, 10m or 24h');

const keep = z.strictObject(
  { size: size.optional(), age: duration.optional(), locked: size.optional() },
  'must be a map',
);
const lock = z.strictObject(
  { when: read(parseCondition, ''), before: duration.optional(), after: duration.optional() },
  'must be a map with the key `when`',
);
const recording = z.strictObject(
  {
    folder: path.optional(),
    codec: z.enum(CODECS, `must be ${CODECS.join(' or ')}`).optional(),
    fps: z.number('must be pictures per second').gt(0, 'must be above 0').max(60, 'must be at most 60').optional(),
    keep: keep.optional(),
    lock: lock.optional(),
  },
  'must be a map; {} for all defaults',
);
const camera = z.strictObject({ source: path, recording: recording.optional() }, 'must be a map with the key `source`');
const gpsd = z.strictObject(
  {
    host: z.string('must be a host').regex(/^[^\s/]+$/, 'must be a host name or an address'),
    port: z.int('must be a port').min(1, 'must be 1 to 65535').max(65_535, 'must be 1 to 65535').optional(),
    device: path.optional(),
    staleAfter: duration.optional(),
  },
  'must be a map with the key `host`',
);
const signals = z.strictObject({
  gpsd: gpsd.optional(),
  dbc: z.record(z.string(), z.array(path, 'must be a list of files'), 'must be a map from bus to files').optional(),
  mapping: z.array(path, 'must be a list of files').optional(),
  vss: z.array(path, 'must be a list of files').optional(),
  defaults: z.array(path, 'must be a list of files').optional(),
  sources: z
    .record(
      z.string().regex(/^\w+(\.(\w+|\*))*$/, 'must be a VSS path'),
      z.array(z.string(), 'must be a list of sources'),
      'must be a map from VSS path to sources',
    )
    .optional(),
});
const digest = z.string('must be a digest').regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hex digits');

const api = z.strictObject(
  {
    listen: z.string('must be HOST:PORT').transform((text, context): ListenAddress => {
      const address = parseListen(text);
      if (address !== undefined) return address;
      context.addIssue({ code: 'custom', message: 'must be like 0.0.0.0:7444 or [::]:7444' });
      return z.NEVER;
    }),
    operators: z.array(id, 'must be a list of ids').optional(),
  },
  'must be a map with the key `listen`',
);

const schema = z.strictObject(
  {
    vehicle: id,
    obu: id,
    buses: z.record(name, bus).optional(),
    signals: signals.optional(),
    cameras: z.record(name, camera).optional(),
    brokers: z.array(broker, 'must be a list').optional(),
    identity: path.optional(),
    stateHome: z.string('must be the id of a broker').optional(),
    tasks: z.record(name, digest).optional(),
    api: api.optional(),
    ...runtimeShape,
  },
  'must be a map with at least `vehicle` and `obu`',
);

/** For docs/reference and editors; `npm run docs` adds a sentence to each key. */
export const obuConfigSchema = schema;

/** Keys of the schema where a path leads, to guess what a typo meant. */
function knownKeys(at: readonly PropertyKey[]): readonly string[] {
  if (at.length === 0) return Object.keys(schema.shape);
  if (at[0] === 'buses') return Object.keys(bus.shape);
  if (at[0] === 'cameras') {
    if (at.at(-1) === 'keep') return Object.keys(keep.shape);
    if (at.at(-1) === 'lock') return Object.keys(lock.shape);
    return Object.keys(at.length > 2 ? recording.shape : camera.shape);
  }
  if (at[0] === 'brokers') return Object.keys(broker.shape);
  if (at[0] === 'api') return Object.keys(api.shape);
  const runtime = runtimeKeys[String(at[0])];
  if (runtime !== undefined) return runtime;
  return Object.keys(at[1] === 'gpsd' ? gpsd.shape : signals.shape);
}

/**
 * Reads the configuration of an OBU.
 * @param file Its name, for messages and for relative paths in it.
 * @throws KerbError BadConfig that names file, line and key; `context.problems` lists all problems
 */
export function parseObuConfig(text: string, file: string): ObuConfig {
  const parsed = parseYaml(text, { file, schema, code: ErrorCode.BadConfig, knownKeys });
  const raw = parsed.value;
  const base = dirname(resolve(file));
  const absolute = (relative: string) => resolve(base, relative);
  const buses = Object.entries(raw.buses ?? {}).map(
    ([busName, { kind = 'auto', interface: device, socket, bitrate = 500_000 }]): BusConfig => ({
      name: busName,
      kind,
      interface: device,
      socket: socket && absolute(socket),
      bitrate,
    }),
  );

  const problems: Problem[] = [];
  for (const one of Object.keys(raw.signals?.dbc ?? {})) {
    if (!buses.some((known) => known.name === one)) {
      problems.push(parsed.problem(['signals', 'dbc', one], `there is no bus "${one}" under \`buses\``));
    }
  }
  const brokers = raw.brokers ?? [];
  if (brokers.length > 0 && raw.identity === undefined) {
    problems.push(parsed.problem(['brokers'], 'brokers are reached with an identity: set `identity` to its directory'));
  }
  if (raw.api !== undefined && raw.identity === undefined) {
    problems.push(parsed.problem(['api'], 'the API is served with an identity: set `identity` to its directory'));
  }
  if (raw.stateHome !== undefined && !brokers.some(({ id }) => id === raw.stateHome)) {
    problems.push(
      parsed.problem(['stateHome'], `"${raw.stateHome}" is not one of the brokers: it must be the id of one`),
    );
  }
  brokers.forEach((one, i) => {
    if (brokers.findIndex((other) => other.id === one.id) < i) {
      problems.push(parsed.problem(['brokers', i, 'id'], `broker "${one.id}" is named twice`));
    }
  });
  if (problems.length > 0) throw problemsError(ErrorCode.BadConfig, problems);

  return {
    vehicle: raw.vehicle,
    obu: raw.obu,
    buses,
    signals: {
      dbc: new Map(Object.entries(raw.signals?.dbc ?? {}).map(([one, files]) => [one, files.map(absolute)])),
      mapping: (raw.signals?.mapping ?? []).map(absolute),
      vss: (raw.signals?.vss ?? []).map(absolute),
      defaults: (raw.signals?.defaults ?? []).map(absolute),
      sources: new Map(Object.entries(raw.signals?.sources ?? {})),
      ...(raw.signals?.gpsd && { gpsd: toGpsd(raw.signals.gpsd) }),
    },
    cameras: Object.entries(raw.cameras ?? {}).map(([cameraName, { source, recording: kept }]) => ({
      name: cameraName,
      source,
      recording: kept && toRecording(kept, absolute),
    })),
    brokers,
    stateHome: raw.stateHome,
    identity: raw.identity && absolute(raw.identity),
    tasks: new Map(Object.entries(raw.tasks ?? {})),
    api: raw.api && { listen: raw.api.listen, operators: raw.api.operators ?? [] },
    runtime: runtimeConfigOf(raw),
  };
}

function toGpsd({ host, port = 2947, device, staleAfter = 5000 }: z.infer<typeof gpsd>): GpsdConfig {
  return { host, port, device, staleMs: staleAfter };
}

function toRecording(raw: z.infer<typeof recording>, absolute: (path: string) => string): RecordingConfig {
  const { keep: kept, lock: locked } = raw;
  return {
    folder: raw.folder && absolute(raw.folder),
    codec: raw.codec ?? 'h264',
    fps: raw.fps ?? 15,
    keep: {
      maxBytes: kept?.size ?? 2 * 1024 ** 3,
      maxAgeMs: kept?.age ?? 24 * 3_600_000,
      maxLockedBytes: kept?.locked ?? 1024 ** 3,
    },
    lock: locked && { when: locked.when, beforeMs: locked.before ?? 30_000, afterMs: locked.after ?? 30_000 },
  };
}
