import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { messageOf } from '../shared/errors.ts';
import { table } from '../shared/table.ts';
import type { Measurement } from './measure.ts';
import { offloadSuite } from './offload.ts';
import { tenderSuite } from './tender.ts';

/** A suite measures with its peers in the same run, and says on standard error what it is doing. */
type Suite = (say: (text: string) => void) => AsyncGenerator<Measurement>;

const suites: Record<string, Suite> = { offload: offloadSuite, tender: tenderSuite };

const number = (value: number) =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3).replace(/e\+?/, 'e');

const program = new Command('npm run bench --')
  .description('measures Kerbside beside its peers on this machine and prints one table')
  .option('--only <suite>', `one suite: ${Object.keys(suites).join(', ')}`)
  .option('--json <file>', 'writes the rows as JSON too: a list of { suite, name, unit, n, p50, p99, max }')
  .parse();
const flags = program.opts<{ only?: string; json?: string }>();
if (flags.only !== undefined && !(flags.only in suites)) {
  program.error(`there is no suite '${flags.only}'; there are: ${Object.keys(suites).join(', ')}`, { exitCode: 2 });
}

const rows: Measurement[] = [];
try {
  for (const [name, suite] of Object.entries(suites)) {
    if (flags.only !== undefined && flags.only !== name) continue;
    for await (const row of suite((text) => process.stderr.write(`${name}: ${text}\n`))) rows.push(row);
  }
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
const lines = table([
  ['SUITE', 'WHAT', 'UNIT', 'N', 'P50', 'P99', 'MAX'],
  ...rows.map((r) => [r.suite, r.name, r.unit, String(r.n), number(r.p50), number(r.p99), number(r.max)]),
]);
for (const line of lines) console.log(line);
if (flags.json) writeFileSync(flags.json, `${JSON.stringify(rows, null, 2)}\n`);
