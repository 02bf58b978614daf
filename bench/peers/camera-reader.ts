/**
 * A workload that reads the camera `front` through the app SDK: `camera-reader.ts SOCKET FORMAT PICTURES`. Prints `ready`
 * when the first picture has come, and after PICTURES more one line: an array of { timeUs, atUs, number }, where
 * `number` is what the bench wrote into the picture (grey pictures only).
 */

import { connect, type PictureFormat } from '../../shared/app-sdk/index.ts';
import { nowUs } from '../../shared/can/userspace/userspace-protocol.ts';
import { type CameraSample, numberIn } from './frames.ts';

process.stdin.on('end', () => process.exit(0)).resume();
const [path, format, count] = process.argv.slice(2);
const obu = await connect({ path });
const samples: CameraSample[] = [];
let ready = false;
for await (const { timeUs, data } of obu.camera('front', { format: format as PictureFormat })) {
  const atUs = nowUs();
  if (!ready) process.stdout.write('ready\n');
  else samples.push({ timeUs, atUs, number: format === 'gray8' ? numberIn(data) : 0 });
  ready = true;
  if (samples.length === Number(count)) break;
}
process.stdout.write(`${JSON.stringify(samples)}\n`);
