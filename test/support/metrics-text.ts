/** For tests: a strict reader of the Prometheus text format 0.0.4. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

/** @throws Error at the first line that is none, is in the wrong place, or is there twice */
export function parseMetrics(text: string): Sample[] {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const types = new Map<string, string>();
  const series = new Set<string>();
  const samples: Sample[] = [];
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '') continue;
    const [, what, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (what === 'TYPE') {
      if (types.has(name!)) throw new Error(`two types: ${line}`);
      if (!['counter', 'gauge', 'histogram'].includes(rest!)) throw new Error(`no type: ${line}`);
      types.set(name!, rest!);
    }
    if (line.startsWith('#')) {
      if (what === undefined) throw new Error(`neither HELP nor TYPE: ${line}`);
      continue;
    }
    const sample = parseSample(line);
    const family = sample.name.replace(/_(bucket|sum|count)$/, '');
    const type = types.get(sample.name) ?? (types.get(family) === 'histogram' ? 'histogram' : undefined);
    if (type === undefined) throw new Error(`no TYPE above it: ${line}`);
    if (type === 'counter' && !(sample.value >= 0)) throw new Error(`a counter below zero: ${line}`);
    const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
    if (series.has(key)) throw new Error(`twice: ${line}`);
    series.add(key);
    samples.push(sample);
  }
  return samples;
}

function parseSample(line: string): Sample {
  const [, name, text = '', number] = SAMPLE.exec(line) ?? [];
  const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number);
  if (name === undefined || Number.isNaN(value)) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  let at = 0;
  while (at < text.length) {
    LABEL.lastIndex = at;
    const match = LABEL.exec(text);
    if (match === null || match[1]! in labels) throw new Error(`bad labels: ${line}`);
    labels[match[1]!] = match[2]!.replaceAll(/\\(.)/g, (_all, one) => (one === 'n' ? '\n' : one));
    at = LABEL.lastIndex;
  }
  return { name, labels, value };
}
