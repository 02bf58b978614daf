/**
 * VSS leaves out of a file: a whole tree in JSON (as vspec2json writes it) or an overlay in vspec style (YAML with one
 * key for each path). What a leaf says of CAN is read by vss-mapping.ts.
 */

import { readFile } from 'node:fs/promises';
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { type Exact, parseJsonExactly, withExact } from '../base/exact.ts';
import { readFault } from '../host/read-fault.ts';
import { plainIssue } from '../text/plain-issue.ts';
import { datatypes, inFormOf } from './datatype.ts';
import type { LeafValue, SignalDatum, SignalInfo } from './signal.ts';
import { isListValue, listDatatypes, valueFault } from './signal-list.ts';

/** Whose mapping it is, for messages. */
export interface LeafLocation {
  readonly file: string;
  readonly path: string;
}

/** A leaf as it stands in the file. */
export interface RawLeaf extends LeafLocation {
  readonly node: Readonly<Record<string, unknown>>;
}

const numeric = z.union([z.number(), z.bigint()]);
export const datum = z.union([z.number(), z.bigint(), z.boolean(), z.string()]);

const infoSchema = z.looseObject({
  type: z.enum(['sensor', 'actuator', 'attribute']).optional(),
  datatype: z.string().refine((type) => datatypes.includes(type) || listDatatypes.includes(type), {
    error: `one of ${datatypes.join(', ')}, or a list of them, such as uint8[]`,
  }),
  unit: z.string().optional(),
  description: z.string().optional(),
  comment: z.string().optional(),
  deprecation: z.string().optional(),
  min: numeric.optional(),
  max: numeric.optional(),
  allowed: z.array(datum).optional(),
  default: z.union([datum, z.array(datum)]).optional(),
});

/** @throws KerbError BadSignalMapping */
export async function readVssFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new KerbError(ErrorCode.BadSignalMapping, `${file}: the file cannot be read: ${readFault(error)}`, { file });
  }
}

/**
 * The leaves of a file, sorted by path, unchecked but for their place.
 * @param file its name, for messages; a name that ends in .json is read as JSON, anything else as YAML
 * @throws KerbError BadSignalMapping with file and path
 */
export function parseVssFile(source: string, file: string): RawLeaf[] {
  const root = file.endsWith('.json') ? parseJson(source, file) : parseYaml(source, file);
  if (!isObject(root)) throw badLeaf({ file, path: '' }, 'it has to be a tree of VSS paths');
  const leaves: RawLeaf[] = [];
  for (const [path, node] of Object.entries(root)) collect({ file, path }, node, leaves, 0);
  leaves.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (let i = 1; i < leaves.length; i++) {
    if (leaves[i]!.path === leaves[i - 1]!.path) throw badLeaf(leaves[i]!, 'it is there twice');
  }
  return leaves;
}

/** @throws KerbError BadSignalMapping */
export function leafInfo(leaf: RawLeaf): SignalInfo {
  const parsed = checked(leaf, infoSchema, leaf.node, '');
  const { datatype } = parsed;
  const limit = (value: Exact | undefined) => value && (inFormOf(datatype, value) as Exact);
  return {
    path: leaf.path,
    type: parsed.type ?? ('vss2dbc' in leaf.node ? 'actuator' : 'sensor'),
    datatype,
    unit: parsed.unit ?? '',
    description: parsed.description ?? '',
    comment: parsed.comment ?? '',
    deprecation: parsed.deprecation ?? '',
    min: limit(parsed.min),
    max: limit(parsed.max),
    allowed: parsed.allowed?.map((value) => inFormOf(datatype, value)),
  };
}

/**
 * The value that the leaf has until a source gives one.
 * @throws KerbError BadSignalMapping when it is no value of the leaf
 */
export function leafDefault(leaf: RawLeaf, info: SignalInfo): LeafValue | undefined {
  const { default: given } = checked(leaf, infoSchema, leaf.node, '');
  const inForm = (one: SignalDatum) => inFormOf(info.datatype, one);
  const value = given === undefined ? undefined : isListValue(given) ? given.map(inForm) : inForm(given);
  const fault = value === undefined ? undefined : valueFault(info, value);
  if (fault !== undefined) throw badLeaf(leaf, `default: it ${fault}`);
  return value;
}

/** Whether its values are lists. */
export function isList(leaf: RawLeaf): boolean {
  return typeof leaf.node.datatype === 'string' && leaf.node.datatype.endsWith('[]');
}

/** A part of a leaf, checked. @throws KerbError BadSignalMapping */
export function checked<T>(place: LeafLocation, schema: z.ZodType<T>, value: unknown, key: string): T {
  const parsed = schema.safeParse(value, { error: plainIssue });
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const where = [...(key === '' ? [] : [key]), ...issue.path].join('.');
  throw badLeaf(place, where === '' ? issue.message : `${where}: ${issue.message}`);
}

export function badLeaf({ file, path }: LeafLocation, what: string): KerbError {
  const message = path === '' ? `${file}: ${what}` : `${file}: ${path}: ${what}`;
  return new KerbError(ErrorCode.BadSignalMapping, message, { file, path });
}

function parseJson(source: string, file: string): unknown {
  try {
    return parseJsonExactly(source);
  } catch (error) {
    throw badLeaf({ file, path: '' }, messageOf(error));
  }
}

function parseYaml(source: string, file: string): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(source, { lineCounter, prettyErrors: false, uniqueKeys: true, intAsBigInt: true });
  const fault = document.errors[0];
  if (fault !== undefined) {
    throw badLeaf({ file: `${file}:${lineCounter.linePos(fault.pos[0]).line}`, path: '' }, fault.message);
  }
  return withExact(document.toJS({ maxAliasCount: 100 }));
}

/** A branch holds its children under `children`, as VSS in JSON does. */
function collect(place: LeafLocation, node: unknown, into: RawLeaf[], level: number): void {
  if (level > 64) throw badLeaf(place, 'the tree is nested too deeply');
  if (!isObject(node)) throw badLeaf(place, 'it is neither a branch nor a signal');
  if (isObject(node.children)) {
    for (const [name, child] of Object.entries(node.children)) {
      collect({ file: place.file, path: `${place.path}.${name}` }, child, into, level + 1);
    }
  } else if (node.type !== 'branch') into.push({ ...place, node });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
