/**
 * Takes pictures of the front camera, has the edges in the region of the road marked on an edge element, and keeps the results:
 * /data/NUMBER.pgm is the filtered picture, /data/round-trips.jsonl says how long each one took. Its grants are in
 * car.compose.yaml.
 */
import { appendFile, rename, stat } from 'node:fs/promises';
import { connect, type ItemStream, isKerbError, type Picture } from '@kerbside/app-sdk';
import { KeepNewest } from './keep-newest.ts';
import { fromTaskOutput, toPgm, toTaskInput } from './picture.ts';

const width = 320;
const height = 240;
const budgetMs = Number(process.env.BUDGET_MS ?? 300);
const keep = Number(process.env.KEEP ?? 50);
const folder = '/data';
const log = `${folder}/round-trips.jsonl`;
const maxLogBytes = 4 * 1024 * 1024;

const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('SIGINT', () => stop.abort());

const obu = await connect({ signal: stop.signal, timeoutMs: 60_000 });
const pictures = new KeepNewest(folder, 'pgm', keep);
await pictures.open();
let failures = 0;

for (;;) {
  try {
    // The stream always has the newest picture: while one is on its way, those in between are left out.
    await filter(obu.camera('front', { format: 'gray8', width, height, signal: stop.signal }));
    break; // only when we were stopped
  } catch (error) {
    console.log(`no pictures: ${sentence(error)}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
obu.close();

async function filter(stream: ItemStream<Picture>): Promise<void> {
  for await (const picture of stream) {
    const startedAt = performance.now();
    try {
      const input = toTaskInput({ width: picture.width, height: picture.height, pixels: picture.data });
      const { output, receipt } = await obu.offload('dashcam-filter', input, { budgetMs, signal: stop.signal });
      const totalMs = performance.now() - startedAt;
      const file = await pictures.add(toPgm(fromTaskOutput(output)));
      await record({ file, sequence: picture.sequence, roundTripMs: totalMs, ...receipt });
      console.log(
        `${file} in ${totalMs.toFixed(1)} ms at ${receipt.place} (queue ${receipt.queueMs.toFixed(1)}, ` +
          `run ${receipt.runMs.toFixed(1)}), ${failures} failed so far`,
      );
    } catch (error) {
      if (stop.signal.aborted) return;
      failures++;
      const afterMs = performance.now() - startedAt;
      console.log(
        `picture ${picture.sequence} was not filtered and kept after ${afterMs.toFixed(0)} ms: ${sentence(error)}`,
      );
      const code = isKerbError(error) ? error.code : undefined;
      await record({ sequence: picture.sequence, failed: sentence(error), code, afterMs, budgetMs });
    }
  }
}

/** One line per picture; the file before the present one is kept as `.1`. A full disk ends nothing. */
async function record(entry: object): Promise<void> {
  try {
    await appendFile(log, `${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
    if ((await stat(log)).size > maxLogBytes) await rename(log, `${log}.1`);
  } catch (error) {
    console.log(`${log} cannot be written: ${sentence(error)}`);
  }
}

function sentence(error: unknown): string {
  if (isKerbError(error)) return `${error.message} [${error.code}]`;
  return error instanceof Error ? error.message : String(error);
}
