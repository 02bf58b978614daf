import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { ErrorCode, isErrno, KerbError } from '../shared/errors.ts';
import { namePattern, nameRule } from './manifest/schema.ts';
import type { SignalsConfig } from './signals/start.ts';
import { type Problem, parseYaml, problemsError } from './yaml.ts';

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

/** What one OBU is and has, from its configuration file. Paths are absolute. */
export interface ObuConfig {
  readonly vehicle: string;
  readonly obu: string;
  readonly buses: readonly BusConfig[];
  readonly signals: SignalsConfig;
  readonly cameras: readonly { readonly name: string; readonly source: string }[];
  readonly brokers: readonly { readonly id: string; readonly url: string }[];
  /** Directory with the identity of this vehicle; needed when there are brokers. */
  readonly identity: string | undefined;
  /** Digest of the task package by the name that grants use. */
  readonly tasks: ReadonlyMap<string, string>;
}

const name = z.string('must be a name').regex(namePattern, nameRule);
const id = z
  .string('must be an id')
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'an id has 1 to 63 letters, digits, ".", "_" and "-"');
const path = z.string('must be a path').min(1, 'is empty');

const bus = z.strictObject(
  {
    kind: z.enum(['auto', 'socketcan', 'userspace'], 'must be auto, socketcan or userspace').optional(),
    interface: z
      .string('must be the name of a network interface')
      .regex(/^[^/:@\s]{1,15}$/, 'is no name of a network interface')
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

const camera = z.strictObject({ source: path }, 'must be a map with the key `source`');
const broker = z.strictObject({
  id,
  url: z.string('must be a URL').regex(/^https:\/\/[^\s/]+\/?$/, 'must be https://HOST:PORT'),
});
const signals = z.strictObject({
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

const schema = z.strictObject(
  {
    vehicle: id,
    obu: id,
    buses: z.record(name, bus).optional(),
    signals: signals.optional(),
    cameras: z.record(name, camera).optional(),
    brokers: z.array(broker, 'must be a list').optional(),
    identity: path.optional(),
    tasks: z.record(name, digest).optional(),
  },
  'must be a map with at least `vehicle` and `obu`',
);

/** Keys of the schema where a path leads, to guess what a typo meant. */
function knownKeys(at: readonly PropertyKey[]): readonly string[] {
  if (at.length === 0) return Object.keys(schema.shape);
  if (at[0] === 'buses') return Object.keys(bus.shape);
  if (at[0] === 'cameras') return Object.keys(camera.shape);
  if (at[0] === 'brokers') return Object.keys(broker.shape);
  return Object.keys(signals.shape);
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
    },
    cameras: Object.entries(raw.cameras ?? {}).map(([cameraName, { source }]) => ({ name: cameraName, source })),
    brokers,
    identity: raw.identity && absolute(raw.identity),
    tasks: new Map(Object.entries(raw.tasks ?? {})),
  };
}

/** The text of a file that a person named. @throws KerbError with this code */
export async function readNamedFile(file: string, code: ErrorCode): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new KerbError(code, `${file} cannot be read: ${error.code}`, { file });
  }
}
