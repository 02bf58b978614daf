import { beforeAll, expect, it } from 'vitest';
import { CAR_DBC } from '../../cli/sim/can-command.ts';
import { parseCandumpLine } from '../../shared/can/candump.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { BOOTED_MS, type CanMachine } from './can-machine.ts';
import { controllerFrames, filterFrames, frames, shortFdFrames, type VcanReport } from './report.ts';

/** What our bus does on the real SocketCAN: inside/bus.ts has done it, this judges. */
export function checkBus(machine: CanMachine): void {
  let report: VcanReport;

  beforeAll(async () => {
    report = await machine.report('bus');
  }, BOOTED_MS);

  it('is chosen because the kernel has the interface, and says so', () => {
    expect(report.chosen).toEqual({
      kind: 'socketcan',
      reason: 'vcan0 is SocketCAN: the kernel has a CAN interface of that name',
    });
  });

  it('puts frames on the bus as candump sees them: standard, extended, remote and FD', () => {
    expect(report.outward).toEqual([...frames, ...shortFdFrames]);
  });

  it('gets frames from the bus as cansend sent them', () => {
    expect(report.inward.slice(0, frames.length)).toEqual(
      // BRS of a received frame is not known.
      frames.map((text) => text.replace('##1', '##0')),
    );
  });

  it('takes FD frames of up to 8 bytes for classical ones, which is as far as the package goes', () => {
    expect(report.inward.slice(frames.length)).toEqual(shortFdFrames.map((text) => text.replace(/##./, '#')));
  });

  it('stamps what it receives and does not receive what it sent', () => {
    expect(report.inwardAge).toBeLessThan(60);
    expect(report.ownFramesReceived).toBe(0);
  });

  it('filters as the kernel does', () => {
    expect(report.filters.length).toBeGreaterThan(10);
    for (const { filter, kernel, ours } of report.filters) expect(ours, filter).toEqual(kernel);
    const passed = new Map(report.filters.map(({ filter, kernel }) => [filter, kernel]));
    expect(passed.get('0:0')).toEqual(filterFrames);
    expect(passed.get('0~0')).toEqual([]);
    expect(passed.get('123:C00007FF')).toEqual(['123#00']);
  });

  it('carries the simulated car, each message with its id, length and kind', async () => {
    expect(report.simulator.says).toContain('SocketCAN');
    const seen = new Map(
      report.simulator.log.map((line) => {
        const { frame } = parseCandumpLine(line);
        return [`${frame.ext} ${frame.id} ${frame.fd} ${frame.brs} ${frame.data.length}`, frame];
      }),
    );
    const { messages } = await loadDbc(CAR_DBC);
    for (const message of messages) {
      const frame = seen.get(`${message.ext} ${message.id} ${message.fd} ${message.fd} ${message.length}`);
      expect(frame, message.name).toBeDefined();
      expect(compileMessage(message).decode(frame!.data).size, message.name).toBeGreaterThan(0);
    }
  });

  it('feeds every mapped signal from it', () => {
    expect(report.simulator.allPaths).toBeGreaterThan(40);
    expect(report.simulator.paths.length).toBe(report.simulator.allPaths);
  });

  it('follows the controller by its error frames', () => {
    expect(report.controller).toEqual({
      states: ['Warning', 'Passive', 'BusOff', 'Up'],
      seen: controllerFrames,
      errorFrames: 3,
    });
  });

  it('tells when the interface goes down or away, and is back by itself', () => {
    const down = 'Down: the interface is down; set it up with: ip link set vcan0 up';
    expect(report.states.slice(0, 3)).toEqual([down, 'Up', 'Down: the interface was removed']);
    expect(report.states.at(-1)).toBe('Up');
    expect(report.sendWhileDown).toBe('vcan0 is down: the interface is down; set it up with: ip link set vcan0 up');
    expect(report.afterReturn).toEqual(['321#CAFE']);
  });

  it('says what is wrong with an interface, and what to do', () => {
    expect(report.noInterface).toBe(
      'cannot attach to CAN interface vcan9: there is no such interface; make one with: ip link add dev vcan9 type vcan; ip link set vcan9 up',
    );
    expect(report.notCan).toBe('cannot attach to CAN interface lo: it is an interface, but not a CAN interface');
    expect(report.noFd).toEqual({
      message: expect.stringContaining('vcan1 did not take the frame: it takes no CAN FD frames; try: ip link set'),
      noFd: true,
    });
  });
}
