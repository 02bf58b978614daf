import { beforeAll, expect, it } from 'vitest';
import { longIt, rows } from '../support/rounds.ts';
import { BOOTED_MS, type CanMachine } from './can-machine.ts';
import type { DeniedReport } from './report.ts';

/** What a container with a CAN interface may not send: inside/denied.ts has tried it, this judges. */
export function checkDenied(machine: CanMachine): void {
  let report: DeniedReport;

  beforeAll(async () => {
    report = await machine.report('denied');
  }, BOOTED_MS);

  it('is counted by reason, and neither what it may write nor what it reads is', () => {
    expect(report.steps[0]).toEqual({
      counts: { id: 4, kind: 2 },
      ids: expect.arrayContaining([
        { bus: 'can0', id: '3EA', frames: 3 },
        { bus: 'can0', id: '000003E9', frames: 1 },
        { bus: 'can0', id: '3E9#R', frames: 1 },
        { bus: 'can0', id: '004 (error frame)', frames: 1 },
      ]),
    });
    // The last two come from what only the long form does.
    const arrived = rows(5, ['3E9#AA', '3E9##0AB', '123#11', '555#22', '3EA#33', '3EA#01', '123#11']);
    expect(report.arrived).toEqual(arrived.map(short));
  });

  it('is counted exactly in a flood, of which only a part is read for its ids', () => {
    const [, { counts, ids }] = report.steps as [unknown, DeniedReport['steps'][number]];
    expect(counts).toEqual({ id: 4 + report.flood, kind: 2 });
    const [{ id, frames }] = ids as [DeniedReport['steps'][number]['ids'][number]];
    expect(id).toBe('3EB');
    expect(frames).toBeLessThan(report.flood);
  });

  it('is counted when the container ends right after it', () => {
    expect(report.steps[2]!.counts).toEqual({ id: 6 + report.flood, kind: 2 });
  });

  longIt('goes on with the next container of the workload', () => {
    expect(report.steps[3]!.counts).toEqual({ id: 7 + report.flood, kind: 2 });
  });

  longIt('is held to the grants of now', () => {
    expect(report.steps[4]!.counts).toEqual({ id: 8 + report.flood, kind: 2 });
    expect(report.steps[5]!.counts).toEqual({ id: 8 + report.flood, kind: 2, grant: 2 });
  });

  it('is reported as what comes over a socket is', () => {
    expect(report.faults).toEqual(expect.arrayContaining(['5010 can0 3EA id', '5010 can0 3E9 kind']));
  });

  it('leaves nothing behind', () => {
    expect(report.left).toEqual([]);
  });
}

/** The package does not tell on receive that a frame of at most 8 bytes was FD. */
function short(text: string): string {
  return text.replace(/##./, '#');
}
