/** A workload beside bad neighbours: what it is served, counted in /data/neighbour.json. */
import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, isKerbError } from '@kerbside/app-sdk';

process.on('SIGTERM', () => process.exit(0));

const obu = await connect();
const counts = { frames: 0, framesDropped: 0, signals: 0, signalsDropped: 0, pictures: 0, answers: 0 };

async function frames(): Promise<void> {
  const stream = obu.can({ bus: 'can0' });
  for await (const batch of stream) {
    counts.frames += batch.frames.length;
    counts.framesDropped = stream.dropped;
  }
}
async function signals(): Promise<void> {
  const stream = obu.signals(['Vehicle.Speed']);
  for await (const values of stream) {
    counts.signals += values.length;
    counts.signalsDropped = stream.dropped;
  }
}
async function pictures(): Promise<void> {
  for await (const _picture of obu.camera('front', { format: 'gray8', width: 64, height: 48 })) counts.pictures++;
}
/** There is no broker here: what counts is that the OBU answers. */
async function offloads(): Promise<void> {
  for (;;) {
    try {
      await obu.offload('dashcam-filter', new Uint8Array(1000), { budgetMs: 5000 });
    } catch (error) {
      if (!isKerbError(error)) throw error;
      counts.answers++;
    }
    await sleep(100);
  }
}
setInterval(() => {
  writeFileSync('/data/neighbour.part', JSON.stringify(counts));
  renameSync('/data/neighbour.part', '/data/neighbour.json');
}, 200);
await Promise.all([frames(), signals(), pictures(), offloads()]);
