import { beforeAll, expect, it } from 'vitest';
import { rounds } from '../support/rounds.ts';
import type { CanMachine } from './can-machine.ts';
import type { LossReport } from './report.ts';

/** Five seconds of them, fifteen in the long form. */
const STEADY_FRAMES = rounds(3650, 10_950);

/** What our bus says of frames that the kernel dropped: inside-losses.ts has counted, this judges. */
export function checkLosses(machine: CanMachine): void {
  let report: LossReport;

  beforeAll(async () => {
    report = await machine.report('losses', 'test/vcan/inside-losses.ts', [`${STEADY_FRAMES}`], 600_000);
  }, 1_100_000);

  it.each(['burst', 'busy'] as const)(
    'counts exactly what the kernel dropped while the program was too slow: %s',
    (what) => {
      const { sent, received, dropped } = report[what];
      expect(received).toBeLessThan(sent);
      expect(dropped).toBe(sent - received);
    },
  );

  it('counts no loss where there is none, with frames waiting at any moment', () => {
    const { sent, received, dropped } = report.steady;
    expect(sent).toBe(STEADY_FRAMES);
    // 0 wherever the receive buffer could be made large; the truth elsewhere.
    expect(dropped).toBe(sent - received);
  });
}
