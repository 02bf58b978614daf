import { describe, expect, it } from 'vitest';
import { parseFrameText } from './candump.ts';
import { type ControllerState, controllerAfter, explainController, reportsLoss } from './controller-state.ts';

/** As drivers send them: class in the id, details of the controller in byte 1, counters in bytes 6 and 7. */
const frames = {
  data: '123#11',
  warning: '20000004#0008000000006000',
  passive: '20000204#0020000000008800',
  receiveWarning: '20000204#0004000000000061',
  both: '20000204#0024000000008861',
  active: '20000204#0040000000000000',
  busOff: '20000040#0000000000000000',
  busOffWithCounters: '20000240#000000000000F800',
  restarted: '20000100#0000000000000000',
  overflow: '20000004#0001000000000000',
  protocol: '20000008#0000010000000000',
  noAck: '20000020#0000000000000000',
} as const;

function after(state: ControllerState, ...names: (keyof typeof frames)[]): ControllerState {
  return names.reduce((now, name) => controllerAfter(now, parseFrameText(frames[name])), state);
}

describe('the state of a controller', () => {
  it.each<[ControllerState, (keyof typeof frames)[], ControllerState]>([
    ['Active', ['data', 'protocol', 'noAck', 'overflow'], 'Active'],
    ['Active', ['warning'], 'Warning'],
    ['Active', ['receiveWarning'], 'Warning'],
    ['Warning', ['passive'], 'Passive'],
    ['Active', ['both'], 'Passive'],
    ['Passive', ['data', 'noAck', 'protocol'], 'Passive'],
    ['Passive', ['warning'], 'Warning'],
    ['Passive', ['active'], 'Active'],
    ['Passive', ['busOff'], 'BusOff'],
    ['Active', ['busOffWithCounters'], 'BusOff'],
    ['BusOff', ['noAck'], 'BusOff'],
    ['BusOff', ['restarted'], 'Active'],
    ['BusOff', ['data'], 'Active'],
  ])('goes from %s by %j to %s', (from, names, to) => {
    expect(after(from, ...names)).toBe(to);
  });

  it('is explained with the counters when they are told', () => {
    expect(explainController('Passive', parseFrameText(frames.passive))).toContain('136 sending, 0 receiving');
    expect(explainController('Warning', parseFrameText(frames.warning))).toContain('96 sending');
    expect(explainController('BusOff', parseFrameText(frames.busOff))).toBe(
      'the controller is bus-off; look at wiring and bit rate, then: ip link set DEVICE type can restart',
    );
  });

  it('tells that the controller lost frames', () => {
    expect(reportsLoss(parseFrameText(frames.overflow))).toBe(true);
    for (const name of ['data', 'warning', 'busOff'] as const)
      expect(reportsLoss(parseFrameText(frames[name]))).toBe(false);
  });
});
