import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import type { Dbc, DbcMessage } from '../../shared/dbc/dbc.ts';
import { compileMessage, type MessageSignal } from '../../shared/dbc/message-codec.ts';
import type { Motion } from './road.ts';
import type { MotionSource } from './simulated-dashcam.ts';

/** Without a frame for this long the bus is silent, and the road stands still. */
const SILENT_MS = 1000;

interface Watched {
  readonly message: DbcMessage;
  readonly codec: MessageSignal;
  /** From the unit of the DBC to metres per second or degrees. */
  readonly scale: number;
}

const TO_MPS: Readonly<Record<string, number>> = { 'km/h': 1 / 3.6, kph: 1 / 3.6, 'm/s': 1, mph: 0.44704 };
const TO_DEGREES: Readonly<Record<string, number>> = { deg: 1, degree: 1, degrees: 1, '°': 1, rad: 180 / Math.PI };

/** The motion of the car as its CAN bus tells it, read as any other program on the bus reads it. */
export class BusMotion implements MotionSource {
  readonly #bus: CanBus;
  readonly #speed: Watched;
  readonly #steering: Watched;
  #speedMps = 0;
  #steeringDeg = 0;
  #lastSpeedMs = Number.NEGATIVE_INFINITY;
  #unsubscribe: (() => void) | undefined;

  /**
   * `speed` and `steering` are signals of the database as `MESSAGE.SIGNAL`; the steering wheel's angle is positive to
   * the left.
   * @throws KerbError SimulatorFailed when the database has no such signal, or one whose unit says nothing
   */
  constructor(options: { bus: CanBus; dbc: Dbc; speed: string; steering: string }) {
    this.#bus = options.bus;
    this.#speed = find(options.dbc, options.speed, TO_MPS);
    this.#steering = find(options.dbc, options.steering, TO_DEGREES);
  }

  /** @throws KerbError BusUnavailable */
  async start(): Promise<void> {
    this.#unsubscribe = this.#bus.subscribe((frame) => this.#take(frame));
    await this.#bus.start();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    await this.#bus.stop();
  }

  current(): Motion {
    const silent = performance.now() - this.#lastSpeedMs > SILENT_MS;
    return { speedMps: silent ? 0 : this.#speedMps, steeringDeg: this.#steeringDeg };
  }

  #take(frame: CanFrame): void {
    const speed = valueIn(frame, this.#speed);
    if (speed !== undefined) {
      this.#speedMps = speed;
      this.#lastSpeedMs = performance.now();
    }
    this.#steeringDeg = valueIn(frame, this.#steering) ?? this.#steeringDeg;
  }
}

function valueIn(frame: CanFrame, { message, codec, scale }: Watched): number | undefined {
  if (frame.id !== message.id || frame.ext !== message.ext || frame.rtr || frame.err) return undefined;
  return codec.isPresent(frame.data) ? Number(codec.physicalOf(frame.data)) * scale : undefined;
}

function find(dbc: Dbc, name: string, units: Readonly<Record<string, number>>): Watched {
  const failed = (problem: string) =>
    new KerbError(ErrorCode.SimulatorFailed, `${dbc.file}: ${problem}`, { file: dbc.file, signal: name });
  const dot = name.indexOf('.');
  const message = dbc.messages.find((one) => one.name === name.slice(0, Math.max(0, dot)));
  const signalName = name.slice(dot + 1);
  if (message === undefined || !message.signals.some((signal) => signal.name === signalName)) {
    throw failed(`has no signal ${name}; name one as MESSAGE.SIGNAL`);
  }
  const codec = compileMessage(message).signal(signalName);
  const scale = units[codec.signal.unit];
  if (scale === undefined) {
    throw failed(`signal ${name} has the unit "${codec.signal.unit}", not one of ${Object.keys(units).join(', ')}`);
  }
  return { message, codec, scale };
}
