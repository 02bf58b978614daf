/**
 * A program that puts tenders into control groups, as a broker does, and prints what the kernel says of them as JSON. It
 * runs on this machine (cgroups.test.ts) and in an emulated one (test/long/cgroups.test.ts), in whatever group it is.
 *
 *   cgroup-report.ts MODE IMAGE       all of it
 *   cgroup-report.ts MODE IMAGE brief   without what programs in such a group can do
 *   cgroup-report.ts MODE IMAGE hold  starts one tender, prints, and waits to be killed
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findOwnGroup } from '../../broker/tenders/cgroups/hierarchies.ts';
import { type CgroupMode, openTenderGroups } from '../../broker/tenders/cgroups/open-groups.ts';
import type { TenderGroups } from '../../broker/tenders/cgroups/tender-groups.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { isKerbError } from '../../shared/base/errors.ts';
import { createLog, silentLog } from '../../shared/base/log.ts';
import { until } from '../support/until.ts';

const LIMITS = ['memory.max', 'memory.limit_in_bytes', 'pids.max', 'cpu.max', 'cpu.cfs_quota_us', 'cpu.rt_runtime_us'];

export interface CgroupReport {
  readonly error?: { readonly code: number; readonly message: string };
  /** The `msg` and fields of what `openTenderGroups` logged. */
  readonly lines: readonly { readonly msg: string; readonly path?: string; readonly reason?: string }[];
  readonly broker?: string;
  readonly tender?: string;
  readonly guest?: string;
  readonly pid?: number;
  /** By file, of the group of the tender. */
  readonly limits?: Readonly<Record<string, string>>;
  readonly answer?: string;
  /** The group of a tender that was started later. */
  readonly secondTender?: string;
  /** Processes that a program in the group of a tender could start, of forty. */
  readonly forks?: number;
  /** How many bytes came through a program there that would hold 64 MiB and may have 32. */
  readonly greedy?: string;
  /** Groups of ours that are there afterwards. */
  readonly left?: readonly string[];
  readonly brokerPid?: number;
  readonly brokerAfter?: string;
}

const groupOf = (pid: number | 'self') => readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim();
const mountinfo = () => readFileSync('/proc/self/mountinfo', 'utf8');

/** Folders of the group of a process. */
function foldersOf(pid: number | 'self'): string[] {
  const own = findOwnGroup(groupOf(pid), mountinfo());
  if (own === undefined) return [];
  return own.version === 2 ? [own.folder] : [...new Set(own.folders.values())];
}

/** Groups of ours in a folder and in the one above it. */
function oursIn(folders: readonly string[]): string[] {
  const near = folders.flatMap((folder) => [folder, join(folder, '..')]);
  return [...new Set(near)].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /^kerbside-(tenders|broker)-/.test(name))
      .map((name) => join(folder, name)),
  );
}

function limitsOf(pid: number): Record<string, string> {
  const files = foldersOf(pid).flatMap((folder) => LIMITS.map((file) => [file, join(folder, file)] as const));
  return Object.fromEntries(
    files.filter(([, path]) => existsSync(path)).map(([file, path]) => [file, readFileSync(path, 'utf8').trim()]),
  );
}

/** A shell in a group of its own, which runs this when it is in it. */
async function inGroup(groups: TenderGroups, bytes: number, script: string) {
  const group = groups.take();
  const child = spawn('sh', ['-c', `read -r go; ${script}`], { stdio: ['pipe', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await group.join(child.pid!);
  await group.limitMemory(bytes);
  child.stdin.end('go\n');
  await once(child, 'close');
  group.free();
  return output;
}

async function guestOf(pid: number): Promise<number> {
  return until('the tender has a guest', () => {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return child === undefined ? undefined : Number(child);
  });
}

async function report(mode: CgroupMode, imagePath: string, how: string | undefined): Promise<CgroupReport> {
  const lines: { msg: string }[] = [];
  const log = createLog('broker', { write: (line: string) => void lines.push(JSON.parse(line)) });
  const before = foldersOf('self');
  let groups: TenderGroups | undefined;
  try {
    groups = await openTenderGroups(mode, 16, log);
  } catch (error) {
    if (!isKerbError(error)) throw error;
    return { lines, error: { code: error.code, message: error.message }, left: oursIn(before) };
  }
  const start = async () => {
    const options = { imagePath, log: silentLog(), isolation: 'process', groups, declaredBytes: 1 << 20 } as const;
    const tender = new TenderProcess(options);
    await tender.start();
    return tender;
  };
  const tender = await start();
  const pid = tender.pid!;
  const guest = await guestOf(pid);
  const called = await tender.call(Buffer.from('you'), 10_000);
  const found = {
    lines,
    pid,
    broker: groupOf('self'),
    brokerPid: process.pid,
    tender: groupOf(pid),
    guest: existsSync(`/proc/${guest}`) ? groupOf(guest) : groupOf(await guestOf(pid)),
    limits: limitsOf(pid),
    answer: called.outcome === 'done' ? called.output.toString() : JSON.stringify(called),
  };
  if (how === 'hold') return found;
  await tender.stop();
  // Its group is cleared meanwhile.
  await sleep(1_000);
  const second = await start();
  const secondTender = groupOf(second.pid!);
  await second.stop();
  if (groups === undefined || how === 'brief') {
    await groups?.close();
    return { ...found, secondTender, left: oursIn(before), brokerAfter: groupOf('self') };
  }
  const forks = await inGroup(groups, 64 << 20, 'for i in $(seq 40); do sleep 0.5 & echo started; done; wait');
  const greedy = await inGroup(groups, 32 << 20, 'exec head -c 64m /dev/zero | tail -c 64m | wc -c');
  await groups.close();
  return {
    ...{ ...found, secondTender },
    ...{ forks: forks.split('started').length - 1, greedy: greedy.trim() },
    ...{ left: oursIn(before), brokerAfter: groupOf('self') },
  };
}

const [mode, image, how] = process.argv.slice(2);
const answer = await report(mode as CgroupMode, image!, how);
process.stdout.write(`REPORT ${JSON.stringify(answer)}\n`);
if (how === 'hold') setInterval(() => {}, 1_000_000);
