import { beforeAll, expect, it } from 'vitest';
import { rows } from '../support/rounds.ts';
import { BOOTED_MS, type CanMachine } from './can-machine.ts';
import { type LossReport, STEADY_FRAMES } from './report.ts';

/** What our bus says of frames that the kernel dropped: inside/losses.ts has counted, this judges. */
export function checkLosses(machine: CanMachine): void {
  let report: LossReport;

  beforeAll(async () => {
    report = await machine.report('losses');
  }, BOOTED_MS);

  it.each(rows(1, ['burst', 'busy'] as const))(
    'counts exactly what the kernel dropped while the program was too slow: %s',
    (what) => {
      const { sent, received, dropped } = report[what]!;
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
