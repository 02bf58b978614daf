import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Exchange, InterfaceReport } from './report.ts';
import { bootUml } from './uml.ts';

// CAN interfaces in the containers of a real Docker Engine, with the real vxcan and can-gw, in a Linux kernel of our own.

const root = join(import.meta.dirname, '..', '..');
let folder: string;
let report: InterfaceReport;

beforeAll(async () => {
  await mkdir(join(root, 'build'), { recursive: true });
  folder = await mkdtemp(join(root, 'build', 'vcan-'));
  const file = join(folder, 'report.json');
  const machine = await bootUml({
    folder,
    cwd: root,
    // vxcan and can-gw come later: the OBU is to say that they are missing.
    modules: ['can', 'can-raw', 'can-dev', 'vcan', 'overlay'],
    script: `
      mount -t cgroup2 none /sys/fs/cgroup
      ip link add dev vcan0 mtu 72 type vcan
      ip link set vcan0 up
      '${process.execPath}' test/vcan/inside-interface.ts '${file}' /tmp/kerbside
    `,
    timeoutMs: 500_000,
  });
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined || machine.status !== 0) {
    const what = machine.timedOut ? 'was killed, it took too long' : `ended with status ${machine.status}`;
    throw new Error(`the machine ${what}: ${text ?? ''}\n${machine.console.slice(-6000)}`);
  }
  report = JSON.parse(text);
}, 520_000);

afterAll(async () => {
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

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

describe('a container with a CAN interface', () => {
  it('waits for what the kernel lacks, and says what to run', () => {
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
});
