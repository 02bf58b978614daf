/** A small car for the tests of the engine: a real userspace bus with frames on it, and a real camera file. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../shared/base/log.ts';
import { formatFrame } from '../../shared/can/candump.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { UserspaceBusServer } from '../../shared/can/userspace/userspace-server.ts';

const dbc = `VERSION ""
BS_:
BU_: ECU
BO_ 290 Motion: 8 ECU
 SG_ Speed : 0|16@1+ (0.01,0) [0|655.35] "km/h" ECU
BO_ 304 FanWish: 3 ECU
 SG_ Wish : 0|8@1+ (1,0) [0|100] "%" ECU
 SG_ Count : 8|4@1+ (1,0) [0|15] "" ECU
 SG_ Check : 16|8@1+ (1,0) [0|255] "" ECU
BO_ 305 FanState: 1 ECU
 SG_ Is : 0|8@1+ (1,0) [0|100] "%" ECU
`;

const mapping = `Vehicle.Speed:
  type: sensor
  datatype: float
  dbc2vss: { signal: Speed, interval_ms: 0 }
Vehicle.Cabin.HVAC.Station.Row1.Driver.FanSpeed:
  type: actuator
  datatype: uint8
  max: 100
  dbc2vss: { signal: Is, interval_ms: 0 }
  vss2dbc: { signal: Wish, counter: { signal: Count }, checksum: { signal: Check, algorithm: xor } }
`;

/** The ids that are on the bus; 0x122 carries the speed, which is 123.45 km/h. */
export const IDS = [0x122, 0x155, 0x400];
export const SPEED_BYTES = [0x39, 0x30, 0, 0, 0, 0, 0, 0];

export class TestCar {
  readonly folder = mkdtempSync(join(tmpdir(), 'kerb-car-'));
  readonly socket = join(this.folder, 'can0.bus');
  /** What the fan was told so far. */
  readonly fanWishes: number[][] = [];
  readonly #server = new UserspaceBusServer({ socketPath: this.socket, name: 'can0', log: silentLog() });
  readonly #sender = new UserspaceBus({ name: 'can0', socketPath: this.socket, client: 'car', log: silentLog() });
  /** Frames that others have sent. */
  readonly heard: string[] = [];
  #timer: NodeJS.Timeout | undefined;

  async start(): Promise<void> {
    await this.#server.start();
    this.#sender.subscribe((frame) => this.heard.push(formatFrame(frame)));
    await this.#sender.start();
    // The fan: says how fast it is when it is told to, if counter and checksum are right.
    this.#sender.subscribe(({ id, data }) => {
      if (id !== 304 || data[2] !== (data[0]! ^ data[1]!)) return;
      this.fanWishes.push([...data]);
      this.#sender.send(dataFrame(305, data.subarray(0, 1)));
    });
    this.#timer = setInterval(() => {
      for (const id of IDS) this.#sender.send(dataFrame(id, Uint8Array.from(SPEED_BYTES)));
    }, 20);
    writeFileSync(join(this.folder, 'car.dbc'), dbc);
    writeFileSync(join(this.folder, 'car.vss.yaml'), mapping);
    const video = join(this.folder, 'road.mkv');
    const source = ['-f', 'lavfi', '-i', 'testsrc=size=320x240:rate=10', '-t', '2', '-c:v', 'mjpeg', video];
    execFileSync('ffmpeg', ['-nostdin', '-loglevel', 'error', ...source]);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sender.stop();
    await this.#server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Configuration of an OBU in this car; its files are beside it. */
  config(): string {
    return JSON.stringify({
      vehicle: 'test-car',
      obu: 'obu-1',
      buses: { can0: { kind: 'userspace', socket: 'can0.bus' } },
      signals: { dbc: { can0: ['car.dbc'] }, mapping: ['car.vss.yaml'] },
      cameras: { front: { source: `file:${join(this.folder, 'road.mkv')}` } },
      tasks: { 'dashcam-filter': `sha256:${'00'.repeat(32)}` },
    });
  }
}
