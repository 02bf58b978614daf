/**
 * The part of an OBU that carries frames and pictures, with no engine: `obu-gateways.ts JSON`, where JSON has the folder
 * for the sockets, the socket of the userspace bus, how many gateways (0.sock, 1.sock …), and a camera source or none.
 * Prints `ready`, then a line per END frame: frames that came from the bus, frames that the bus lost, and what
 * processor time this process used so far, in microseconds.
 */

import { join } from 'node:path';
import { CanRouter } from '../../obu/can/router.ts';
import { createCamera } from '../../obu/dashcam/capture/ffmpeg-camera.ts';
import type { GatewayMeter } from '../../obu/gateway/connection-context.ts';
import { Gateway } from '../../obu/gateway/gateway.ts';
import { NoOffloader } from '../../obu/offload/no-offloader.ts';
import { SignalStore } from '../../obu/signals/signal-store.ts';
import { silentLog } from '../../shared/base/log.ts';
import { IdFilter } from '../../shared/can/filter.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { workloadOf } from '../../test/support/workload.ts';
import { END_ID } from './frames.ts';

const {
  folder,
  bus: socketPath,
  gateways,
  camera,
} = JSON.parse(process.argv[2]!) as {
  folder: string;
  bus: string;
  gateways: number;
  camera?: string;
};
const log = silentLog();
const bus = new UserspaceBus({ name: 'can0', socketPath, client: 'bench', log });
const router = new CanRouter(bus);
await bus.start();
router.start();
router.subscribe(undefined, [new IdFilter(END_ID, 0x7ff)], () => {
  const { framesReceived: received, framesDropped: lost } = bus.stats;
  const { user, system } = process.cpuUsage();
  process.stdout.write(`${JSON.stringify({ received, lost, cpuUs: user + system })}\n`);
});
const cameras = camera === undefined ? [] : [createCamera({ name: 'front', source: camera, log })];
for (const one of cameras) await one.start();
const count = () => {};
const meter: GatewayMeter = {
  canDropped: count,
  canDenied: count,
  signalsDropped: count,
  pictureDropped: count,
  signalLatency: count,
  offloadStarted: count,
  offloadDone: count,
  offloadFailed: count,
  failure: count,
};
const grants = {
  can: [{ bus: 'can0', read: [new IdFilter(0, 0)], write: [], as: 'socket', when: undefined }],
  signals: [],
  cameras: cameras.map(({ name }) => ({ name, maxFps: 60 })),
  offload: undefined,
} as const;
for (let i = 0; i < gateways; i++) {
  const offers = {
    routers: new Map([['can0', router]]),
    signals: new SignalStore([], []),
    cameras: new Map(cameras.map((one) => [one.name, one])),
    tasks: new Map<string, string>(),
  };
  const parts = { vehicle: 'bench', obu: 'bench', offers, offloader: new NoOffloader(), meter, log };
  await new Gateway(workloadOf({ name: `reader-${i}`, grants }), join(folder, `${i}.sock`), parts).start();
}
process.stdout.write('ready\n');
process.on('SIGTERM', async () => {
  for (const one of cameras) await one.stop();
  process.exit(0);
});
process.stdin.on('end', () => process.exit(0)).resume();
