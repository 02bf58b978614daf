import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { CAR_DBC } from '../../cli/sim/can-command.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc, parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { CanSimulator } from './simulator.ts';

const dbc = await loadDbc(CAR_DBC);
let running: CanSimulator | undefined;

afterEach(() => running?.stop());

/** A bus that keeps what is sent, or refuses it. */
function recordingBus(refuse: (frame: CanFrame) => KerbError | undefined = () => undefined) {
  const frames: CanFrame[] = [];
  const bus: CanBus = {
    name: 'can0',
    kind: 'userspace',
    start: async () => undefined,
    stop: async () => undefined,
    send: (frame) => {
      const error = refuse(frame);
      if (error !== undefined) throw error;
      frames.push(frame);
    },
    subscribe: () => () => undefined,
    onState: () => () => undefined,
    state: { state: 'Up' },
    stats: { framesReceived: 0, framesSent: 0, framesDropped: 0, errorFrames: 0, bits: 0 },
  };
  return { bus, frames };
}

function simulate(bus: CanBus): CanSimulator {
  running = new CanSimulator({ bus, dbc, seed: 1, log: silentLog() });
  running.start();
  return running;
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1500; i++) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error('waited in vain');
}

describe('CanSimulator', () => {
  it('sends every message of the car, the fast ones more often', async () => {
    const { bus, frames } = recordingBus();
    simulate(bus);
    const count = (name: string) => {
      const { id } = dbc.messages.find((message) => message.name === name)!;
      return frames.filter((frame) => frame.id === id).length;
    };
    await until(() => count('Cluster') >= 2 && count('Tyres') >= 5);
    for (const { name, id, ext, fd, length } of dbc.messages) {
      const frame = frames.find((other) => other.id === id);
      expect(frame, name).toMatchObject({ ext, fd, brs: fd, rtr: false });
      expect(frame!.data.length, name).toBe(length);
    }
    expect(count('Engine')).toBeGreaterThan(count('Transmission'));
    expect(count('Transmission')).toBeGreaterThan(count('Cluster'));
    const tyres = dbc.messages.find(({ name }) => name === 'Tyres')!;
    const index = compileMessage(tyres).signal('TyreIndex');
    const order = frames.filter(({ id }) => id === tyres.id).map(({ data }) => index.rawOf(data));
    expect(order.slice(0, 5)).toEqual([0, 1, 2, 3, 0]);
  });

  it('goes on without the FD message where the bus has no FD', async () => {
    let asked = 0;
    const { bus, frames } = recordingBus((frame) => {
      if (!frame.fd) return undefined;
      asked++;
      return new KerbError(ErrorCode.BusWriteFailed, 'no FD', { noFd: true });
    });
    simulate(bus);
    await until(() => frames.length > 100);
    expect(asked).toBe(1);
  });

  it('goes on when the bus does not take frames or is down, and counts them', async () => {
    const { bus } = recordingBus(() => new KerbError(ErrorCode.BusDown, 'down'));
    const simulator = simulate(bus);
    await until(() => simulator.framesFailed > 50);
  });

  it('sends nothing after stop', async () => {
    const { bus, frames } = recordingBus();
    const simulator = simulate(bus);
    await until(() => frames.length > 20);
    simulator.stop();
    simulator.stop();
    const { length } = frames;
    await sleep(100);
    expect(frames.length).toBe(length);
  });

  it('refuses a database whose messages it does not know', () => {
    const other = parseDbc(
      'BO_ 1 Strange: 8 X\nBA_DEF_ BO_ "GenMsgCycleTime" INT 0 9;\nBA_ "GenMsgCycleTime" BO_ 1 5;',
      'other.dbc',
    );
    const simulator = new CanSimulator({ bus: recordingBus().bus, dbc: other, seed: 1, log: silentLog() });
    expect(() => simulator.start()).toThrow(
      expect.objectContaining({ code: ErrorCode.SimulatorFailed, message: expect.stringContaining('Strange') }),
    );
  });
});
