/** The default values of DBC signals that a configuration gives for frames that the OBU sends. */

import { readFile } from 'node:fs/promises';
import { isScalar, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { parseJsonExactly } from '../../shared/base/exact.ts';
import type { Dbc } from '../../shared/dbc/dbc.ts';
import { toRawDatum } from '../../shared/dbc/message-codec.ts';
import { compileSignal } from '../../shared/dbc/signal-codec.ts';
import { plainIssue } from '../../shared/text/plain-issue.ts';
import type { SignalDatum } from '../../shared/vss/signal.ts';

/** A physical value, the name of a value, or a boolean; and where it stands. */
export interface DefaultValue {
  readonly value: SignalDatum;
  /** "file:line" */
  readonly place: string;
}

const schema = z.record(z.string(), z.union([z.number(), z.bigint(), z.string(), z.boolean()]));

/** By DBC signal, out of a JSON file. @throws KerbError BadSignalMapping */
export async function loadDefaults(file: string): Promise<[string, DefaultValue][]> {
  try {
    const source = await readFile(file, 'utf8');
    const parsed = schema.safeParse(parseJsonExactly(source), { error: plainIssue });
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new Error(`${issue!.path.join('.') || 'it'} has to be a value: { "SIGNAL": 0 }`);
    }
    const lines = linesOf(source);
    return Object.entries(parsed.data).map(([name, value]) => [
      name,
      { value, place: `${file}:${lines.get(name) ?? 1}` },
    ]);
  } catch (error) {
    throw new KerbError(ErrorCode.BadSignalMapping, `${file}: ${messageOf(error)}`, { file });
  }
}

/** JSON is YAML, and the parser of that knows where its keys are. */
function linesOf(source: string): ReadonlyMap<string, number> {
  const lineCounter = new LineCounter();
  const { contents } = parseDocument(source, { lineCounter, uniqueKeys: false, logLevel: 'silent' });
  const lines = new Map<string, number>();
  for (const { key } of (contents as { items?: { key: unknown }[] } | null)?.items ?? []) {
    if (isScalar(key) && key.range) lines.set(String(key.value), lineCounter.linePos(key.range[0]).line);
  }
  return lines;
}

/** What of the defaults is of no use: a signal that no database has, or a value that does not fit it. */
export function checkDefaults(defaults: ReadonlyMap<string, DefaultValue>, dbcs: readonly Dbc[]): string[] {
  const problems: string[] = [];
  const byName = new Map<string, { message: string; codec: ReturnType<typeof compileSignal> }[]>();
  for (const message of dbcs.flatMap((dbc) => dbc.messages)) {
    for (const signal of message.signals) {
      for (const name of new Set([signal.name, signal.shortName])) {
        if (!defaults.has(name)) continue;
        const place = { message: message.name, codec: compileSignal(signal) };
        byName.set(name, [...(byName.get(name) ?? []), place]);
      }
    }
  }
  for (const [name, { value, place }] of defaults) {
    const signals = byName.get(name) ?? [];
    if (signals.length === 0) problems.push(`${place}: the default is not used: no message has a signal ${name}`);
    for (const { message, codec } of signals) {
      try {
        codec.writeRaw(new Uint8Array(codec.minLength), toRawDatum(codec, value));
      } catch (error) {
        if (!isKerbError(error, ErrorCode.SignalOutOfRange)) throw error;
        problems.push(`${place}: the default is not used in message ${message}: ${error.message}`);
      }
    }
  }
  return problems;
}
