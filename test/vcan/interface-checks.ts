import { beforeAll, expect, it } from 'vitest';
import type { CanMachine } from './can-machine.ts';
import type { Exchange, InterfaceReport } from './report.ts';

/** Every frame once, wherever it may be. */
const expected: Exchange = {
  // 3E9 is its own: on a CAN interface other sockets of the same container see what one of them sends.
  some: [
    '123#11',
    '100#22',
    '00000123#44',
    '123#R',
    '101##155',
    ...['3E9#AA', '3E9##1AB', '3EA#AA', '3E9#R'],
    '000003E9#AA',
    '1FE#00',
  ],
  all: [
    ...['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'],
    ...['3E9#AA', '3E9##1AB', '3E9#BB', '1FE#00'],
  ],
  host: [
    ...['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'],
    ...['3E9#AA', '3E9##1AB', '1FE#00'],
  ],
};

/** CAN interfaces in the containers of a real Docker Engine: inside-interface.ts has made them, this judges. */
export function checkInterfaces(machine: CanMachine): void {
  let report: InterfaceReport;

  beforeAll(async () => {
    report = await machine.report(
      'CAN interfaces in containers',
      'test/vcan/inside-interface.ts',
      ['/tmp/kerbside'],
      1_200_000,
    );
  }, 1_800_000);

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
