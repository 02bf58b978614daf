import { readFile } from 'node:fs/promises';

/**
 * Bytes that a waiting tender takes, its waiting guest included: the proportional set size (proc(5), smaps_rollup), so that
 * pages which several tenders share are counted once. Undefined where that cannot be read: a tender is not dumpable, so only
 * a broker with CAP_SYS_PTRACE may.
 */
export async function footprintOf(pid: number): Promise<number | undefined> {
  const own = await proportionalSize(pid);
  if (own === undefined) return undefined;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => '');
  let bytes = own;
  for (const child of children.split(' ').filter((text) => text !== '')) bytes += (await proportionalSize(child)) ?? 0;
  return bytes;
}

async function proportionalSize(pid: number | string): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1').catch(() => '');
  const kibibytes = /^Pss:\s+(\d+) kB$/m.exec(text)?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}
