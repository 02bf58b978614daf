import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SPEED, STEERING } from '../../cli/sim/dashcam-command.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { BusState, CanBus } from '../../shared/can/bus.ts';
import { type CanFrame, dataFrame, remoteFrame } from '../../shared/can/frame.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc, parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { BusMotion } from './bus-motion.ts';

const dbc = await loadDbc(join(import.meta.dirname, '../car/car.dbc'));

/** A bus of which we are the other end. */
class TestBus implements CanBus {
  readonly name = 'can0';
  readonly kind = 'userspace';
  readonly state: BusState = { state: 'Up' };
  readonly stats = { framesReceived: 0, framesSent: 0, framesDropped: 0, errorFrames: 0, bits: 0 };
  listener: ((frame: CanFrame) => void) | undefined;
  async start(): Promise<void> {}
  async stop(): Promise<void> {}
  send(): void {}
  onState(): () => void {
    return () => {};
  }
  subscribe(listener: (frame: CanFrame) => void): () => void {
    this.listener = listener;
    return () => {
      this.listener = undefined;
    };
  }
}

function frameOf(messageName: string, values: Record<string, number>): CanFrame {
  const message = dbc.messages.find((one) => one.name === messageName)!;
  return dataFrame(message.id, compileMessage(message).encode(values), { ext: message.ext });
}

let bus: TestBus;
let motion: BusMotion;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  bus = new TestBus();
  motion = new BusMotion({ bus, dbc, speed: SPEED, steering: STEERING });
  await motion.start();
});
afterEach(async () => {
  await motion.stop();
  vi.useRealTimers();
});

describe('BusMotion', () => {
  it('stands still until the bus says otherwise', () => {
    expect(motion.current()).toEqual({ speedMps: 0, steeringDeg: 0 });
  });

  it('takes speed and steering from the frames of the simulated car', () => {
    bus.listener!(frameOf('VehicleSpeed', { Speed: 72 }));
    bus.listener!(frameOf('Steering', { SteeringWheelAngle: -12.5 }));
    expect(motion.current().speedMps).toBeCloseTo(20);
    expect(motion.current().steeringDeg).toBeCloseTo(-12.5);
  });

  it('takes nothing from other frames, nor from what only looks like the right one', () => {
    const right = frameOf('VehicleSpeed', { Speed: 72 });
    for (const frame of [
      frameOf('Engine', { EngineSpeed: 3000 }),
      dataFrame(right.id, right.data, { ext: true }),
      remoteFrame(right.id, 4),
      dataFrame(right.id, right.data.subarray(0, 1)),
    ]) {
      bus.listener!(frame);
    }
    expect(motion.current()).toEqual({ speedMps: 0, steeringDeg: 0 });
  });

  it('stops the car when the bus falls silent', () => {
    bus.listener!(frameOf('VehicleSpeed', { Speed: 36 }));
    vi.advanceTimersByTime(900);
    expect(motion.current().speedMps).toBeCloseTo(10);
    vi.advanceTimersByTime(200);
    expect(motion.current().speedMps).toBe(0);
  });

  it('lets go of the bus when it stops', async () => {
    await motion.stop();
    expect(bus.listener).toBeUndefined();
  });

  it('refuses a signal that the database has not, or whose unit says nothing', () => {
    const failure = expect.objectContaining({ code: ErrorCode.SimulatorFailed });
    for (const speed of ['Speed', 'VehicleSpeed.', '.Speed', 'VehicleSpeed.Velocity', 'Engine.EngineSpeed', '']) {
      expect(() => new BusMotion({ bus, dbc, speed, steering: STEERING }), speed).toThrow(failure);
    }
  });

  it('converts the units that other databases use', () => {
    const text =
      'VERSION ""\nBU_: X\nBO_ 1 A: 8 X\n SG_ S : 0|16@1+ (1,0) [0|0] "mph" X\n SG_ W : 16|16@1- (0.01,0) [0|0] "rad" X\n';
    const other = new BusMotion({ bus, dbc: parseDbc(text, 'other.dbc'), speed: 'A.S', steering: 'A.W' });
    void other.start();
    bus.listener!(dataFrame(1, [10, 0, 100, 0, 0, 0, 0, 0]));
    expect(other.current().speedMps).toBeCloseTo(4.4704);
    expect(other.current().steeringDeg).toBeCloseTo(57.2958, 3);
  });
});
