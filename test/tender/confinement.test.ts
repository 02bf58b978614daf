import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { tenderBinary } from '../../broker/tenders/process/tender-binary.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { silentLog } from '../../shared/base/log.ts';
import { forEachWay, guestImage } from './support.ts';

const root = process.getuid?.() === 0;
const folder = mkdtempSync(join(tmpdir(), 'kerb-confinement-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const status = (pid: number): Map<string, string> =>
  new Map(
    readFileSync(`/proc/${pid}/status`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(/:\s*/, 2) as [string, string]),
  );

async function waitingGuest(pid: number, outerFilters: number): Promise<number> {
  return vi.waitFor(
    () => {
      const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
      // Its own filter on top of the tender's two: it has passed the gate up to where it waits.
      if (child === undefined || status(child).get('Seccomp_filters') !== `${outerFilters + 3}`)
        throw new Error('not there yet');
      return child;
    },
    { timeout: 5_000, interval: 5 },
  );
}

await forEachWay((tenders, isolation) => {
  describe('the tender', () => {
    test('says how it is confined', async () => {
      const tender = await tenders.guest('hello');
      expect(tender.isolation).toBe(isolation);
      expect(tender.confinement.startsWith(`isolation ${isolation} (`)).toBe(true);
      expect(tender.confinement).toMatch(/user \d+/);
      expect(tender.confinement).toMatch(/Landlock/);
      expect(tender.confinement).toMatch(/namespace/);
      if (isolation === 'process')
        expect(tender.confinement).toMatch(
          tenders.kept
            ? /\); one process, put back after each call; /
            : /\); a process for each call \((ptrace: Operation not permitted|none can be kept on arm64)\); /,
        );
    });

    test('has no privileges, no way to new ones, and a filter on its system calls', async () => {
      const { pid } = await tenders.guest('hello');
      const fields = status(pid!);
      expect(fields.get('NoNewPrivs')).toBe('1');
      expect(fields.get('Seccomp')).toBe('2');
      expect(fields.get('Seccomp_filters')).toBe(`${tenders.outerFilters + 2}`);
      expect(fields.get('CapEff')).toBe('0000000000000000');
      expect(fields.get('CapPrm')).toBe('0000000000000000');
      if (root) {
        expect(fields.get('Uid')).toBe('65534\t65534\t65534\t65534');
        expect(fields.get('Gid')).toBe('65534\t65534\t65534\t65534');
        expect(fields.get('Groups')?.trim()).toBe('');
      }
    });

    test('runs before its guests, and they as everybody does; in isolation vm itself as everybody does', async () => {
      const { pid, confinement } = await tenders.guest('hello');
      // Column 41 of stat, the policy: 0 SCHED_OTHER, 2 SCHED_RR (proc(5), sched(7)).
      const policy = (of: number) => Number(readFileSync(`/proc/${of}/stat`, 'latin1').split(') ')[1]!.split(' ')[38]);
      const may = !confinement.includes('no real-time priority');
      expect(policy(pid!)).toBe(isolation === 'process' && may ? 2 : 0);
      if (isolation === 'process') expect(policy(await waitingGuest(pid!, tenders.outerFilters))).toBe(0);
    });

    test('runs as the user it is told', async (context) => {
      if (!root) context.skip('only root can become another user');
      const tender = new TenderProcess({ imagePath: guestImage('hello'), log: silentLog(), user: 54321, isolation });
      await tender.start();
      expect(status(tender.pid!).get('Uid')).toBe('54321\t54321\t54321\t54321');
      await tender.stop();
    });

    test('has an empty root, and no file open but its own', async (context) => {
      if (!root) context.skip('only root may look into a process that is not dumpable');
      const { pid } = await tenders.guest('hello');
      expect(readdirSync(`/proc/${pid}/root`)).toEqual([]);
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      const known =
        isolation === 'process'
          ? /^(pipe:|socket:|anon_inode:\[?pidfd|\/memfd:kerb-)|pidfd/
          : /^(pipe:|socket:|\/memfd:kerb-|\/dev\/kvm$|\/kvm$|anon_inode:\[?kvm-(vm|vcpu))/;
      for (const target of open) expect(target).toMatch(known);
    });
  });

  if (isolation === 'process')
    describe('the guest that waits for its call', () => {
      test('has one descriptor, its filter, and memory below 1 GiB only', async (context) => {
        if (!root) context.skip('only root may look into a process that is not dumpable');
        const { pid } = await tenders.guest('hello');
        const guest = await waitingGuest(pid!, tenders.outerFilters);
        expect(readdirSync(`/proc/${guest}/fd`)).toEqual(['0']);
        expect(readlinkSync(`/proc/${guest}/fd/0`)).toMatch(/^pipe:/);
        const ranges = readFileSync(`/proc/${guest}/maps`, 'utf8')
          .trim()
          .split('\n')
          .filter((line) => !line.endsWith('[vsyscall]'))
          .map((line) => /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line)!);
        expect(ranges.length).toBeGreaterThan(8);
        for (const [line, start, end, access] of ranges) {
          expect(Number.parseInt(start!, 16), line).toBeGreaterThanOrEqual(0x100000);
          expect(Number.parseInt(end!, 16), line).toBeLessThanOrEqual(0x40000000);
          expect(access, line).not.toMatch(/w.*x/);
        }
        // The guard page, and nothing right before the stack.
        // What a kept guest may write to is all the tender's, which puts it back; what each call has anew is its own.
        for (const [line, start, , access] of ranges) {
          const exchange = /^3(6000|f000)000$/.test(start!);
          if (access!.startsWith('rw')) expect(access, line).toBe(tenders.kept || exchange ? 'rw-s' : 'rw-p');
        }
        expect(ranges.some(([, start]) => start === '20001000')).toBe(true);
        expect(ranges.some(([, , end]) => Number.parseInt(end!, 16) === 0x20001000)).toBe(false);
      });

      test('costs little', async (context) => {
        if (!root) context.skip('only root may look into a process that is not dumpable');
        const { pid } = await tenders.guest('hello');
        const guest = await waitingGuest(pid!, tenders.outerFilters);
        const proportional = (of: number): number =>
          Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${of}/smaps_rollup`, 'utf8'))![1]);
        expect(proportional(pid!) + proportional(guest)).toBeLessThan(1024);
      });
    });

  if (isolation === 'vm')
    describe('the virtual machine', () => {
      test('has no memory that this process could run, and the tender costs little', async (context) => {
        if (!root) context.skip('only root may look into a process that is not dumpable');
        const { pid } = await tenders.guest('hello');
        const ranges = readFileSync(`/proc/${pid}/maps`, 'utf8')
          .trim()
          .split('\n')
          .map((line) => /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line)!)
          .filter(([, start]) => Number.parseInt(start!, 16) < 0x40000000);
        expect(ranges.length).toBeGreaterThan(8);
        for (const [line, , , access] of ranges) expect(access, line).not.toContain('x');
        const proportional = Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))![1]);
        expect(proportional).toBeLessThan(1024);
      });
    });
});

describe('isolation auto', () => {
  test('says what it chose and why', async () => {
    const tender = new TenderProcess({ imagePath: guestImage('hello'), log: silentLog(), isolation: 'auto' });
    await tender.start();
    expect(tender.confinement).toMatch(
      tender.isolation === 'vm' ? /^isolation vm \(KVM proved itself: ring 3/ : /^isolation process \(KVM: .+\)/,
    );
    await tender.stop();
  });

  test('takes process where /dev/kvm cannot be opened, and vm is refused there, both with the reason', async (context) => {
    if (!root) context.skip('only root can take a device away from a process');
    // A mount namespace of its own in which /dev/kvm is another device.
    const binary = join(folder, 'no-kvm');
    writeFileSync(
      binary,
      `#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec unshare -m sh -c 'mount -t tmpfs none /dev && exec "$@"' sh ${tenderBinary()} "$@"\n`,
      { mode: 0o755 },
    );
    const options = { imagePath: guestImage('hello'), log: silentLog(), binary };
    const tender = new TenderProcess({ ...options, isolation: 'auto' });
    await tender.start();
    expect(tender.isolation).toBe('process');
    expect(tender.confinement).toMatch(
      /^isolation process \(KVM: \/dev\/kvm cannot be opened: No such file or directory\);/,
    );
    await tender.stop();
    const demanding = new TenderProcess({ ...options, isolation: 'vm' });
    await expect(demanding.start()).rejects.toMatchObject({
      code: 8002,
      message: expect.stringContaining('KVM: /dev/kvm cannot be opened: No such file or directory'),
    });
  });
});
