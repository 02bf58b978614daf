/**
 * Which CAN signal feeds which VSS path, and which one sets it: the mapping files of Kuksa's CAN provider, read as they
 * are. `dbc2vss` (older: `dbc`) is the way in; where it gives neither `interval_ms` nor `on_change`, a value is taken
 * once in 1000 ms, as Kuksa does. `vss2dbc` is the way out.
 *
 * Keys of our own, which Kuksa does not know: in `dbc2vss`, `ttl_ms`; in `vss2dbc`, `message`, `counter`, `checksum`,
 * `acknowledge`, and for J1939 `source_address` and `destination_address`; beside them, in a leaf that nothing maps,
 * `ttl_ms` for what workloads provide.
 */
import { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import type { Exact } from '../base/exact.ts';
import { checksumAlgorithms, type FrameChecksum } from '../dbc/checksum.ts';
import { caster, datumFault } from './datatype.ts';
import { compileFormula, type Formula } from './math-expression.ts';
import type { LeafValue, SignalDatum, SignalInfo } from './signal.ts';
import {
  badLeaf,
  checked,
  datum,
  isList,
  type LeafLocation,
  leafDefault,
  leafInfo,
  parseVssFile,
  readVssFile,
} from './vss-file.ts';

const transformSchema = z.union([
  z.strictObject({ mapping: z.array(z.strictObject({ from: datum, to: datum })).min(1) }),
  z.strictObject({ math: z.string() }),
]);
type Transform = z.infer<typeof transformSchema>;

const name = z.string().min(1);
const milliseconds = z.number().int().min(0);

const feedSchema = z.strictObject({
  signal: name,
  interval_ms: milliseconds.optional(),
  on_change: z.boolean().optional(),
  ttl_ms: milliseconds.optional(),
  transform: transformSchema.optional(),
  multiplexer: z.array(z.strictObject({ signal: name, value: z.number().int() })).optional(),
});

const targetSchema = z.strictObject({
  signal: name,
  message: name.optional(),
  transform: transformSchema.optional(),
  counter: z.strictObject({ signal: name }).optional(),
  checksum: z
    .strictObject({
      signal: name,
      algorithm: z.enum(checksumAlgorithms),
      data_id: z.array(z.number().int().min(0).max(255)).max(8).optional(),
    })
    .optional(),
  source_address: z.number().int().min(0).max(253).optional(),
  destination_address: z.number().int().min(0).max(255).optional(),
  acknowledge: z.strictObject({ path: name.optional(), timeout_ms: milliseconds.min(1).optional() }).optional(),
});

/** How long an actuation waits for its acknowledgement where the mapping does not say. */
const ACKNOWLEDGE_MS = 2000;

/** The CAN signal that feeds a path. */
export interface VssFeed {
  /** The DBC signal. */
  readonly signal: string;
  /** At most one value in this time. */
  readonly intervalMs: number;
  /** Only values that differ from the last one. */
  readonly onChange: boolean;
  /** After this time without a frame the value is stale; 0: never, undefined: as the interval suggests. */
  readonly ttlMs: number | undefined;
  /** All of these signals of the same message must have these raw values. */
  readonly multiplexer: readonly { readonly signal: string; readonly value: number }[];
  /** Values that the mapping names one by one: they mean what it says, whatever the database says of them. */
  readonly isNamed: (physical: Exact, label: string | undefined) => boolean;
  /** The value in VSS, or undefined when this CAN value has none. `label` is the name of the CAN value, if it has one. */
  readonly convert: (physical: Exact, label: string | undefined) => SignalDatum | undefined;
}

/** The CAN signal that sets a path. */
export interface VssTarget {
  readonly signal: string;
  /** Needed when several messages have the signal. */
  readonly message: string | undefined;
  /** A signal of the same message that counts up by one with each frame. */
  readonly counter: string | undefined;
  readonly checksum: FrameChecksum | undefined;
  /** J1939 addresses of the frame; undefined: those in the id of the message. */
  readonly sourceAddress: number | undefined;
  readonly destinationAddress: number | undefined;
  /** The path whose value acknowledges; undefined: the path itself, when it is fed. */
  readonly acknowledge: string | undefined;
  /** Milliseconds. */
  readonly timeoutMs: number;
  /** A physical value, or the name of a value; undefined when this VSS value has none on CAN. */
  readonly convert: (value: SignalDatum) => SignalDatum | undefined;
}

/** One path of a mapping file, or of a VSS file. */
export interface VssLeaf extends LeafLocation {
  readonly info: SignalInfo;
  readonly feed: VssFeed | undefined;
  readonly target: VssTarget | undefined;
  /** Time to live of what workloads provide, in milliseconds; 0: as long as its workload runs. */
  readonly providedTtlMs: number;
  /** Its value until a source gives one. */
  readonly initial?: LeafValue | undefined;
}

/** @throws KerbError BadSignalMapping with file and path */
export async function loadVssMapping(file: string): Promise<VssLeaf[]> {
  return parseVssMapping(await readVssFile(file), file);
}

/** @throws KerbError BadSignalMapping with file and path */
export async function loadVssTree(file: string): Promise<VssLeaf[]> {
  return parseVssTree(await readVssFile(file), file);
}

/**
 * The mapped paths of a file, sorted.
 * @throws KerbError BadSignalMapping with file and path
 */
export function parseVssMapping(source: string, file: string): VssLeaf[] {
  return parseVssFile(source, file)
    .filter(({ node }) => ['dbc2vss', 'dbc', 'vss2dbc'].some((key) => node[key] !== undefined))
    .map((leaf) => {
      const { file, path, node } = leaf;
      if (isList(leaf)) throw badLeaf(leaf, `no CAN signal is a list, and it is a ${node.datatype}`);
      const info = leafInfo(leaf);
      const dbc2vss = node.dbc2vss ?? node.dbc;
      const feed = dbc2vss === undefined ? undefined : toFeed(leaf, info, dbc2vss);
      const target = node.vss2dbc === undefined ? undefined : toTarget(leaf, info, node.vss2dbc);
      return { file, path, info, feed, target, providedTtlMs: 0, initial: leafDefault(leaf, info) };
    });
}

/**
 * Every path of a file, whether or not CAN has it; what it says of CAN is not looked at.
 * @throws KerbError BadSignalMapping with file and path
 */
export function parseVssTree(source: string, file: string): VssLeaf[] {
  return parseVssFile(source, file).map((leaf) => {
    const info = leafInfo(leaf);
    return {
      file,
      path: leaf.path,
      info,
      feed: undefined,
      target: undefined,
      initial: leafDefault(leaf, info),
      providedTtlMs: checked(leaf, milliseconds.optional(), leaf.node.ttl_ms, 'ttl_ms') ?? 0,
    };
  });
}

function toFeed(place: LeafLocation, info: SignalInfo, node: unknown): VssFeed {
  const feed = checked(place, feedSchema, node, 'dbc2vss');
  const onChange = feed.on_change ?? false;
  return {
    signal: feed.signal,
    intervalMs: feed.interval_ms ?? (onChange ? 0 : 1000),
    onChange,
    ttlMs: feed.ttl_ms,
    multiplexer: feed.multiplexer ?? [],
    ...toConverter(place, info, feed.transform),
  };
}

function toConverter(
  place: LeafLocation,
  info: SignalInfo,
  transform: Transform | undefined,
): Pick<VssFeed, 'convert' | 'isNamed'> {
  const cast = caster(info);
  const isNamed = () => false;
  if (transform === undefined) {
    const isText = info.datatype === 'string';
    return { isNamed, convert: isText ? (x, label) => cast(label ?? String(x)) : (x) => cast(x) };
  }
  if ('math' in transform) {
    if (info.datatype === 'string') throw badLeaf(place, 'a formula gives no text; use transform.mapping');
    const formula = formulaOf(place, transform.math);
    const convert = (physical: Exact) => {
      const value = formula(Number(physical));
      return Number.isFinite(value) ? cast(value) : undefined;
    };
    return { isNamed, convert };
  }
  const values = new Map<SignalDatum, SignalDatum>();
  for (const { from, to } of transform.mapping) {
    const isRight =
      (typeof to === 'bigint' ? 'number' : typeof to) ===
      (info.datatype === 'string' || info.datatype === 'boolean' ? info.datatype : 'number');
    const value = isRight ? cast(to) : undefined;
    if (value === undefined)
      throw badLeaf(place, `transform.mapping: "${to}" is not a value of datatype ${info.datatype}`);
    const key = typeof from === 'boolean' ? Number(from) : from;
    if (!values.has(key)) values.set(key, value);
  }
  return {
    isNamed: (physical, label) => (label !== undefined && values.has(label)) || values.has(physical),
    convert: (physical, label) => (label === undefined ? undefined : values.get(label)) ?? values.get(physical),
  };
}

function toTarget(place: LeafLocation, info: SignalInfo, node: unknown): VssTarget {
  if (info.type !== 'actuator') throw badLeaf(place, `vss2dbc sets actuators, and this is of type ${info.type}`);
  const target = checked(place, targetSchema, node, 'vss2dbc');
  const { signal, message, transform, counter, checksum, acknowledge } = target;
  return {
    signal,
    message,
    counter: counter?.signal,
    checksum: checksum && { signal: checksum.signal, algorithm: checksum.algorithm, dataId: checksum.data_id ?? [] },
    sourceAddress: target.source_address,
    destinationAddress: target.destination_address,
    acknowledge: acknowledge?.path,
    timeoutMs: acknowledge?.timeout_ms ?? ACKNOWLEDGE_MS,
    convert: toBackConverter(place, info, transform),
  };
}

function toBackConverter(
  place: LeafLocation,
  info: SignalInfo,
  transform: Transform | undefined,
): VssTarget['convert'] {
  if (transform === undefined) return (value) => value;
  if ('math' in transform) {
    if (info.datatype === 'string') throw badLeaf(place, 'a formula takes no text; use transform.mapping');
    const formula = formulaOf(place, transform.math);
    return (value) => {
      const physical = formula(Number(value));
      return Number.isFinite(physical) ? physical : undefined;
    };
  }
  const values = new Map<SignalDatum, SignalDatum>();
  for (const { from, to } of transform.mapping) {
    const fault = datumFault(info, from);
    if (fault !== undefined) throw badLeaf(place, `vss2dbc.transform.mapping: from: it ${fault}`);
    if (!values.has(from)) values.set(from, to);
  }
  return (value) => values.get(value);
}

function formulaOf(place: LeafLocation, math: string): Formula {
  try {
    return compileFormula(math);
  } catch (error) {
    throw badLeaf(place, messageOf(error));
  }
}
