import { beforeAll, expect, it } from 'vitest';
import { longIt } from '../support/rounds.ts';
import { BOOTED_MS, type CanMachine } from './can-machine.ts';
import { expected } from './exchange-expected.ts';
import type { NamespacesReport } from './report.ts';

/** CAN interfaces in network namespaces as containers have them: inside/namespaces.ts has made them, this judges. */
export function checkNamespaces(machine: CanMachine): void {
  let report: NamespacesReport;

  beforeAll(async () => {
    report = await machine.report('namespaces');
  }, BOOTED_MS);

  it('cannot be made without what the kernel lacks, and it says what to run', ({ skip }) => {
    if (report.missing === undefined) return skip('the kernel has vxcan and can-gw already');
    expect(report.missing[0]).toContain('the kernel has no vxcan; run: modprobe vxcan');
    expect(report.missing[1]).toContain('the kernel has no can-gw; run: modprobe can-gw');
    expect(report.afterMissing).toEqual([]);
  });

  it('reads and writes with unmodified programs exactly what it was granted, each frame once', () => {
    expect(report.exchange).toEqual(expected);
  });

  longIt('goes on when the bus was removed and made again', () => {
    expect(report.returned).toEqual(expected);
  });

  it('is held to the grants of now when the manifest changes while it runs', () => {
    const both = (rule: string) => [rule.replace(/ (\S+)$/, ' FD $1'), rule];
    expect(report.regrants).toEqual({
      steps: [
        { inside: true, rules: [...both('bus to container 100:700'), ...both('container to bus 3e9:c00007ff')].sort() },
        { inside: true, rules: both('bus to container 200:700').sort() },
        { inside: false, rules: [] },
        { inside: true, rules: [...both('bus to container 300:700'), ...both('container to bus 3ea:c00007ff')].sort() },
        { inside: false, rules: [] },
        { inside: false, rules: [] },
      ],
      troubles: [expect.stringMatching(/cannot hold id 3EA to a rate/)],
    });
  });

  it('leaves nothing behind in the kernel', () => {
    expect(report.whileRunning).toBe(2);
    expect(report.left).toEqual({ interfaces: [], rules: 0 });
  });
}
