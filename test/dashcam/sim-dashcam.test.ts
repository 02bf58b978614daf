import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Picture, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { silentLog } from '../../shared/base/log.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { UserspaceBusServer } from '../../shared/can/userspace/userspace-server.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { columnOf, LINES, lensOf, rowOf, START_VIEW } from '../../sim/dashcam/road.ts';
import { Kerb } from '../support/kerb/kerb.ts';
import { longIt } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { ffmpegChildren, Pictures, Rig } from './rig.ts';

const root = join(import.meta.dirname, '..', '..');
const DBC = join(root, 'sim', 'car', 'car.dbc');
const OWN: PictureRequest = { format: 'gray8', width: 0, height: 0, fps: 60 };
const [WIDTH, HEIGHT] = [320, 240];

let rig: Rig;
let busSocket: string;
beforeEach(async () => {
  rig = new Rig();
  busSocket = join(rig.folder, 'can0.sock');
  const server = new UserspaceBusServer({ socketPath: busSocket, name: 'can0', log: silentLog() });
  await server.start();
  rig.onDown(() => server.stop());
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

interface Program {
  readonly child: ChildProcess;
  output: string;
  readonly ended: Promise<number | null>;
}

function argumentsOf(more: readonly string[]): string[] {
  const fixed = ['--dbc', DBC, '--socket', rig.socketPath, '--size', `${WIDTH}x${HEIGHT}`];
  return ['sim', 'dashcam', '--bus', `userspace:can0@${busSocket}`, ...fixed, ...more];
}

function kerbSimDashcam(...more: string[]): Program {
  const args = argumentsOf(more);
  const child = spawn(process.execPath, [join(root, 'cli', 'kerb.ts'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const program: Program = { child, output: '', ended };
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      program.output += text;
    });
  }
  rig.onDown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return program;
}

/** Another program on the bus, which drives the car. */
async function driver(): Promise<(speedKmh: number, steeringDeg: number) => void> {
  const dbc = await loadDbc(DBC);
  const bus = new UserspaceBus({ name: 'can0', socketPath: busSocket, client: 'test', log: silentLog() });
  await bus.start();
  let values = { speed: 0, steering: 0 };
  const send = (messageName: string, signals: Record<string, number>) => {
    const message = dbc.messages.find((one) => one.name === messageName)!;
    bus.send(dataFrame(message.id, compileMessage(message).encode(signals)));
  };
  const timer = setInterval(() => {
    send('VehicleSpeed', { Speed: values.speed });
    send('Steering', { SteeringWheelAngle: values.steering });
  }, 50);
  rig.onDown(() => {
    clearInterval(timer);
    return bus.stop();
  });
  return (speed, steering) => {
    values = { speed, steering };
  };
}

/** Column of the line on the right, 12 m ahead; undefined where nothing bright is. */
function rightLine({ data }: Picture): number | undefined {
  const lens = lensOf(WIDTH, HEIGHT);
  const row = Math.floor(rowOf(lens, 12));
  const straight = columnOf(lens, START_VIEW, LINES.right.x, 12);
  let [sum, count] = [0, 0];
  for (let x = Math.round(straight - 45); x < Math.min(WIDTH, straight + 45); x++) {
    if (data[row * WIDTH + x]! < 170) continue;
    sum += x + 0.5;
    count += 1;
  }
  return count === 0 ? undefined : sum / count;
}

describe('kerb sim dashcam', () => {
  it('shows the road as the bus says the car moves, and cleans up when it is told to end', async () => {
    const drive = await driver();
    const program = kerbSimDashcam('--fps', '20');
    await until('its first line', () => program.output.includes('\n'));
    expect(program.output).toMatch(/SIMULATED road, 320x240 at 20\/s.*userspace bus/);

    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const pictures = new Pictures(camera, OWN);
    drive(50, 0);
    await pictures.more(5);
    const line = () => rightLine(pictures.all.at(-1)!) ?? Number.NaN;
    const straight = line();
    expect(straight).toBeCloseTo(columnOf(lensOf(WIDTH, HEIGHT), START_VIEW, LINES.right.x, 12), -0.5);
    drive(50, 30);
    await until('the line on the left of where it was', () => line() < straight - 10, line);
    drive(50, -30);
    await until('the line on the right of where it was', () => line() > straight + 10, line);
    expect(pictures.all.at(-1)).toMatchObject({ width: WIDTH, height: HEIGHT });
    expect(camera.status().simulated).toBe(true);

    program.child.kill('SIGTERM');
    expect(await program.ended).toBe(0);
    expect(existsSync(rig.socketPath)).toBe(false);
  });

  longIt('takes over the socket of one that was killed', async () => {
    const first = kerbSimDashcam();
    await until('its first line', () => first.output.includes('\n'));
    const second = kerbSimDashcam();
    expect(await second.ended).toBe(1);
    expect(second.output).toMatch(/another process serves there/);
    first.child.kill('SIGKILL');
    await first.ended;
    expect(existsSync(rig.socketPath)).toBe(true);
    const third = kerbSimDashcam();
    await until('its first line', () => third.output.includes('\n'));
    expect(third.output).toContain('SIMULATED');
    third.child.kill('SIGINT');
    expect(await third.ended).toBe(0);
    expect(existsSync(rig.socketPath)).toBe(false);
  });

  it('says what is missing', async () => {
    const commands = new Kerb();
    rig.onDown(() => commands.stop());
    for (const [more, words] of [
      [['--bus', `userspace:can0@${rig.folder}/none.sock`], /none\.sock/],
      [['--dbc', `${rig.folder}/none.dbc`], /none\.dbc/],
      [['--speed', 'Nothing.Here'], /Nothing\.Here/],
      [['--size', 'large'], /--size large/],
    ] as const) {
      const { code, err } = await commands.run(argumentsOf(more));
      expect(code).toBe(1);
      expect(err).toMatch(words);
    }
  });
});
