import { join } from 'node:path';
import { silentLog } from '../../shared/base/log.ts';
import { nowUs } from '../../shared/can/userspace/userspace-protocol.ts';
import { PlanarPicture } from '../../sim/dashcam/picture.ts';
import { PictureServer } from '../../sim/dashcam/picture-server.ts';
import { type Row, summarise } from '../measure.ts';
import { type CameraSample, writeNumber } from '../peers/frames.ts';
import type { Say } from '../tenders.ts';
import { ObuRig } from './rig.ts';

const suite = 'obu';
const FORMAT = { width: 640, height: 480, fps: 15 };
const PICTURES = 200;

/** From the moment when a camera hands a picture over until a program at a gateway has it, as pixels and as a JPEG. */
export async function* cameraLatency(say: Say): AsyncGenerator<Row> {
  say(`camera: ${PICTURES} pictures to a reader of pixels and one of JPEG`);
  const rig = new ObuRig();
  const socketPath = join(rig.folder, 'camera.sock');
  const camera = new PictureServer({ socketPath, format: FORMAT, log: silentLog() });
  const sentUs: number[] = [];
  const picture = new PlanarPicture(FORMAT.width, FORMAT.height);
  picture.data.fill(128);
  let timer: NodeJS.Timeout | undefined;
  try {
    await rig.startBus();
    await camera.start();
    timer = setInterval(() => {
      // A picture that changes, so that there is something to encode.
      for (let i = FORMAT.width; i < picture.y.length; i++) picture.y[i] = (i * 31 + sentUs.length * 7) >> 3;
      writeNumber(picture.y, sentUs.length);
      const data = Buffer.from(picture.data);
      sentUs.push(nowUs());
      camera.send(data);
    }, 1000 / FORMAT.fps);
    await rig.startObu(2, `sim:${socketPath}`);
    const [grey, jpeg] = await Promise.all(
      ['gray8', 'jpeg'].map(async (format, i) => {
        const reader = await rig.startReader('camera-reader.ts', i, format, String(PICTURES));
        return JSON.parse(await reader.nextLine()) as CameraSample[];
      }),
    );
    const what = `${FORMAT.width}x${FORMAT.height} at ${FORMAT.fps}/s`;
    const ms = (fromUs: number, toUs: number) => (toUs - fromUs) / 1000;
    const sentOf = new Map(grey!.map(({ timeUs, number }) => [timeUs, sentUs[number]!]));
    const latencies = grey!.map(({ number, atUs }) => ms(sentUs[number]!, atUs));
    yield summarise(suite, `camera (${what}) to a reader of grey pixels`, 'ms', latencies);
    const toObu = grey!.map(({ number, timeUs }) => ms(sentUs[number]!, timeUs));
    yield summarise(suite, `of that until the OBU has the picture`, 'ms', toObu);
    const encoded = jpeg!.flatMap(({ timeUs, atUs }) => {
      const sent = sentOf.get(timeUs);
      return sent === undefined ? [] : [ms(sent, atUs)];
    });
    yield summarise(suite, `camera (${what}) to a reader of JPEG`, 'ms', encoded);
  } finally {
    clearInterval(timer);
    await rig.stop();
    await camera.stop();
  }
}
