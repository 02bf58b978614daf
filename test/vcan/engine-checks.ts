import { beforeAll, expect, it } from 'vitest';
import { BOOTED_MS, type CanMachine } from './can-machine.ts';
import { expected } from './exchange-expected.ts';
import type { EngineReport } from './report.ts';

/** CAN interfaces in the containers of a real Docker Engine: inside/engine.ts has made them, this judges. */
export function checkEngine(machine: CanMachine): void {
  let report: EngineReport;

  beforeAll(async () => {
    report = await machine.report('engine');
  }, BOOTED_MS);

  it('waits for what the kernel lacks, and says what to run', ({ skip }) => {
    if (report.missing === undefined) return skip("this machine's own kernel has vxcan and can-gw, and keeps them");
    expect(report.missing[0]).toContain('the kernel has no vxcan; run: modprobe vxcan');
    expect(report.missing[1]).toContain('the kernel has no can-gw; run: modprobe can-gw');
    expect(report.unprivileged).toContain('run it as root, or with the capability CAP_NET_ADMIN');
  });

  it('is an ordinary, unprivileged one in a network namespace of its own', () => {
    expect(report.inside).toEqual({ user: '10001', capabilities: '0000000000000000', interfaces: ['can0', 'lo'] });
  });

  it('reads and writes with unmodified programs exactly what it was granted, each frame once', () => {
    expect(report.exchange).toEqual(expected);
  });

  it('keeps its interface when the OBU is killed and another one takes over', () => {
    expect(report.startsAfterAdoption).toBe(1);
    expect(report.adopted).toEqual(expected);
  });

  it('goes on when the bus was removed and made again', () => {
    expect(report.returned).toEqual(expected);
  });

  it('gets a new interface when it is started again', () => {
    expect(report.restarted).toEqual(expected);
  });

  it('leaves nothing behind in the kernel', () => {
    expect(report.whileRunning).toBe(2);
    expect(report.left).toEqual({ interfaces: [], rules: 0 });
  });
}
