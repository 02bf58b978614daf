import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { messageOf } from '../shared/base/errors.ts';
import { brokerSuite } from './broker/suite.ts';
import type { Row } from './measure.ts';
import { obuSuite } from './obu/suite.ts';
import { offloadSuite } from './offload.ts';
import { placesSuite } from './places.ts';
import { describeMachine, type ReportRow, reportLines, withLoad } from './report.ts';
import { tenderSuite } from './tender.ts';

/** A suite measures with its peers in the same run, and says on standard error what it is doing. */
type Suite = (say: (text: string) => void) => AsyncGenerator<Row>;

const suites: Record<string, Suite> = {
  broker: brokerSuite,
  obu: obuSuite,
  offload: offloadSuite,
  places: placesSuite,
  tender: tenderSuite,
};

const program = new Command('npm run bench --')
  .description(
    `Measures Kerbside beside its peers on this machine, in one run, and prints one table. Suites:

  broker   a broker with its clients in processes of their own: offloads per
           second, load beyond its capacity, another tenant under attack, results
           that are kept, idle vehicles; a bare socket.io echo. KERB_BENCH_SECONDS
           is the time of one measurement (5), KERB_BENCH_SETTLE that after an
           attack (60)
  obu      an OBU: idle memory and processor, a manifest applied, ends of 1, 10
           and 100 workloads until status shows them, CAN frames to 1, 5
           and 20 programs, decoding, camera to program; docker run
  offload  a whole offload over loopback; a bare socket.io echo, a spawned
           process, docker run
  places   the choice of a place among 1, 4 and 16; a sort of as many numbers
  tender   a tender alone, in each isolation: calls, ways to reset memory,
           cold starts, lateness, memory, sizes; a spawned process, docker run,
           QEMU's microvm, solo5-hvt, solo5-spt

Run it as root (for docker run, and for the memory of tenders and of an OBU). What this machine has not gets a row that says so. LOAD is the load average of the last minute when a row had been measured; above the one or two of the bench itself, other programs had a share in it. A Ctrl-C ends it after the row at hand, and prints what there is.`,
  )
  .option('--only <suite>', `one suite: ${Object.keys(suites).join(', ')}`)
  .option('--json <file>', 'writes it as JSON too: { machine, rows: [{ suite, name, unit, n, p50, p99, max, load }] }')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .parse();
const flags = program.opts<{ only?: string; json?: string }>();
if (flags.only !== undefined && !(flags.only in suites)) {
  program.error(`there is no suite '${flags.only}'; there are: ${Object.keys(suites).join(', ')}`);
}
try {
  // Found out before an hour of work, not after it.
  if (flags.json !== undefined) writeFileSync(flags.json, '');
} catch (error) {
  program.error(`cannot write ${flags.json}: ${messageOf(error)}`);
}

let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    interrupted = true;
    process.stderr.write('bench: stopping after this row; once more stops at once\n');
  });
}

const machine = describeMachine();
const rows: ReportRow[] = [];
for (const [name, suite] of Object.entries(suites)) {
  if (interrupted || (flags.only !== undefined && flags.only !== name)) continue;
  try {
    for await (const row of suite((text) => process.stderr.write(`${name}: ${text}\n`))) {
      rows.push(withLoad(row));
      if (interrupted) break;
    }
  } catch (error) {
    // What was measured until then is good, and the next suite knows nothing of it.
    process.stderr.write(`bench: suite ${name} broke off: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
if (interrupted) process.exitCode = 130;
for (const line of reportLines(machine, rows)) console.log(line);
if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
