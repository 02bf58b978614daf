/**
 * A workload that reads a CAN bus through the app SDK: `can-reader.ts SOCKET FRAMES`. Prints `ready` when the first frame
 * has come, then a ReaderReport per END frame. FRAMES is about how many there will be.
 */

import { connect } from '../../shared/app-sdk/index.ts';
import { nowUs } from '../../shared/can/userspace/userspace-protocol.ts';
import { END_ID, MAX_SAMPLES, type ReaderReport } from './frames.ts';

process.stdin.on('end', () => process.exit(0)).resume();
const [path, expected] = process.argv.slice(2);
const every = Math.max(1, Math.floor(Number(expected) / MAX_SAMPLES));
const obu = await connect({ path });
const stream = obu.can({ bus: 'can0' });
let frames = 0;
let lostBefore = 0;
let latencies: number[] = [];
let ready = false;
for await (const batch of stream) {
  const atUs = nowUs();
  for (const { id, timeUs } of batch.frames) {
    if (!ready) {
      process.stdout.write('ready\n');
      ready = true;
    }
    if (id === END_ID) {
      const report: ReaderReport = { frames, lost: stream.dropped - lostBefore, latencies };
      process.stdout.write(`${JSON.stringify(report)}\n`);
      frames = 0;
      lostBefore = stream.dropped;
      latencies = [];
    } else if (frames++ % every === 0) latencies.push(atUs - timeUs);
  }
}
