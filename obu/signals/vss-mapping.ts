/**
 * Which CAN signal feeds which VSS path: the mapping files of Kuksa's CAN provider (`dbc2vss`, older `dbc`), read as
 * they are, from a whole VSS tree in JSON or from an overlay in vspec style (YAML with one key for each path).
 * `vss2dbc`, the way back, is accepted and not used yet. Where neither `interval_ms` nor `on_change` is given, a value
 * is taken once in 1000 ms, as Kuksa does.
 */
import { readFile } from 'node:fs/promises';
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/errors.ts';
import { compileFormula, type Formula } from './math-expression.ts';
import type { SignalDatum } from './signal.ts';

const integerRanges: Readonly<Record<string, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint32: [0, 2 ** 32 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  // What a double holds exactly; see SignalDatum.
  uint64: [0, Number.MAX_SAFE_INTEGER],
  int64: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

const datatypes = [...Object.keys(integerRanges), 'float', 'double', 'boolean', 'string'];

const datum = z.union([z.number(), z.boolean(), z.string()]);

const transformSchema = z.union([
  z.strictObject({ mapping: z.array(z.strictObject({ from: datum, to: datum })).min(1) }),
  z.strictObject({ math: z.string() }),
]);

const feedSchema = z.strictObject({
  signal: z.string().min(1),
  interval_ms: z.number().int().min(0).optional(),
  on_change: z.boolean().optional(),
  transform: transformSchema.optional(),
  multiplexer: z.array(z.strictObject({ signal: z.string().min(1), value: z.number().int() })).optional(),
});

/** What is needed of a leaf; a VSS tree says more about it (unit, description, minimum …). */
const leafSchema = z.looseObject({
  datatype: z.string().refine((type) => datatypes.includes(type), { error: `one of ${datatypes.join(', ')}` }),
  allowed: z.array(datum).optional(),
  dbc2vss: feedSchema,
});

/** One VSS path and the CAN signal that feeds it. */
export interface VssMapping {
  readonly path: string;
  readonly datatype: string;
  /** The DBC signal. */
  readonly signal: string;
  /** At most one value in this time. */
  readonly intervalMs: number;
  /** Only values that differ from the last one. */
  readonly onChange: boolean;
  /** All of these signals of the same message must have these raw values. */
  readonly multiplexer: readonly { readonly signal: string; readonly value: number }[];
  /** The value in VSS, or undefined when this CAN value has none. `label` is the name of the CAN value, if it has one. */
  readonly convert: (physical: number, label: string | undefined) => SignalDatum | undefined;
}

/** @throws KerbError BadSignalMapping with file and path */
export async function loadVssMapping(file: string): Promise<VssMapping[]> {
  try {
    return parseVssMapping(await readFile(file, 'utf8'), file);
  } catch (error) {
    if (isKerbError(error)) throw error;
    throw new KerbError(ErrorCode.BadSignalMapping, `${file}: the file cannot be read: ${messageOf(error)}`, { file });
  }
}

/**
 * The mapped paths of a file, sorted.
 * @param file its name, for messages; a name that ends in .json is read as JSON, anything else as YAML
 * @throws KerbError BadSignalMapping with file and path
 */
export function parseVssMapping(source: string, file: string): VssMapping[] {
  const root = file.endsWith('.json') ? parseJson(source, file) : parseYaml(source, file);
  if (!isObject(root)) throw bad(file, '', 'it has to be a tree of VSS paths');
  const mappings: VssMapping[] = [];
  for (const [path, node] of Object.entries(root)) collect(path, node, file, mappings, 0);
  mappings.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (let i = 1; i < mappings.length; i++) {
    if (mappings[i]!.path === mappings[i - 1]!.path) throw bad(file, mappings[i]!.path, 'it is there twice');
  }
  return mappings;
}

function parseJson(source: string, file: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw bad(file, '', messageOf(error));
  }
}

function parseYaml(source: string, file: string): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(source, { lineCounter, prettyErrors: false, uniqueKeys: true });
  const fault = document.errors[0];
  if (fault !== undefined) throw bad(`${file}:${lineCounter.linePos(fault.pos[0]).line}`, '', fault.message);
  return document.toJS({ maxAliasCount: 100 });
}

/** A branch holds its children under `children`, as VSS in JSON does; a leaf may have a mapping. */
function collect(path: string, node: unknown, file: string, into: VssMapping[], level: number): void {
  if (level > 64) throw bad(file, path, 'the tree is nested too deeply');
  if (!isObject(node)) throw bad(file, path, 'it is neither a branch nor a signal');
  if (isObject(node.children)) {
    for (const [name, child] of Object.entries(node.children)) {
      collect(`${path}.${name}`, child, file, into, level + 1);
    }
    return;
  }
  const feed = node.dbc2vss ?? node.dbc;
  if (node.type === 'branch' || feed === undefined) return;
  const parsed = leafSchema.safeParse({ ...node, dbc2vss: feed });
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const where = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
    throw bad(file, path, `${where}${issue.message}`);
  }
  into.push(toMapping(path, parsed.data, file));
}

function toMapping(path: string, leaf: z.infer<typeof leafSchema>, file: string): VssMapping {
  const { datatype, allowed, dbc2vss: feed } = leaf;
  const cast = caster(datatype, allowed);
  const onChange = feed.on_change ?? false;
  return {
    path,
    datatype,
    signal: feed.signal,
    intervalMs: feed.interval_ms ?? (onChange ? 0 : 1000),
    onChange,
    multiplexer: feed.multiplexer ?? [],
    convert: converter(path, datatype, feed.transform, cast, file),
  };
}

type Cast = (value: SignalDatum) => SignalDatum | undefined;

function converter(
  path: string,
  datatype: string,
  transform: z.infer<typeof transformSchema> | undefined,
  cast: Cast,
  file: string,
): VssMapping['convert'] {
  if (transform === undefined) {
    return datatype === 'string' ? (physical, label) => cast(label ?? String(physical)) : (physical) => cast(physical);
  }
  if ('math' in transform) {
    if (datatype === 'string') throw bad(file, path, 'a formula gives no text; use transform.mapping');
    const formula = formulaOf(transform.math, path, file);
    return (physical) => {
      const value = formula(physical);
      return Number.isFinite(value) ? cast(value) : undefined;
    };
  }
  const values = new Map<SignalDatum, SignalDatum>();
  for (const { from, to } of transform.mapping) {
    const value =
      typeof to === (datatype === 'string' || datatype === 'boolean' ? datatype : 'number') ? cast(to) : undefined;
    if (value === undefined) throw bad(file, path, `transform.mapping: "${to}" is no value of datatype ${datatype}`);
    const key = typeof from === 'boolean' ? Number(from) : from;
    if (!values.has(key)) values.set(key, value);
  }
  return (physical, label) => (label === undefined ? undefined : values.get(label)) ?? values.get(physical);
}

function formulaOf(math: string, path: string, file: string): Formula {
  try {
    return compileFormula(math);
  } catch (error) {
    throw bad(file, path, messageOf(error));
  }
}

/** Into the datatype: integers are rounded to the nearest one. Undefined for what it cannot hold. */
function caster(datatype: string, allowed: readonly SignalDatum[] | undefined): Cast {
  const cast = plainCaster(datatype);
  if (allowed === undefined) return cast;
  return (value) => {
    const result = cast(value);
    return result !== undefined && allowed.includes(result) ? result : undefined;
  };
}

function plainCaster(datatype: string): Cast {
  if (datatype === 'string') return (value) => String(value);
  if (datatype === 'boolean')
    return (value) => (typeof value === 'string' ? undefined : value !== 0 && value !== false);
  const range = integerRanges[datatype];
  if (range === undefined) return (value) => (typeof value === 'number' ? value : undefined);
  const [min, max] = range;
  return (value) => {
    if (typeof value !== 'number') return undefined;
    const rounded = Math.round(value) + 0;
    return rounded >= min && rounded <= max ? rounded : undefined;
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(file: string, path: string, what: string): KerbError {
  return new KerbError(ErrorCode.BadSignalMapping, path === '' ? `${file}: ${what}` : `${file}: ${path}: ${what}`, {
    file,
    path,
  });
}
