import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Isolation } from '../../broker/tenders/tender.ts';
import { TenderProcess } from '../../broker/tenders/tender-process.ts';
import { messageOf } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';

const echo = join(import.meta.dirname, '../../build/unikernel/tasks/echo.elf');

/** Why no tender of this isolation can be had on this machine; undefined when one can. Found out by starting one. */
export async function tenderTrouble(isolation: Isolation | 'auto'): Promise<string | undefined> {
  if (!existsSync(echo)) return `${echo} is missing: run npm run setup`;
  const tender = new TenderProcess({ imagePath: echo, log: silentLog(), isolation });
  try {
    await tender.start();
    const outcome = await tender.call(Buffer.from('road'), 5_000);
    return outcome.outcome === 'done' ? undefined : `a first call ended as ${outcome.outcome}`;
  } catch (error) {
    return messageOf(error);
  } finally {
    await tender.stop();
  }
}

export const noTender = (reason: string): Error =>
  new Error(`not run, because no tender can be had on this machine: ${reason}`);

/**
 * For the top of a test file all of whose tests need a tender: where none can be had, the file fails at once and says why,
 * instead of each of its tests waiting for one until its time is over.
 * @throws Error
 */
export async function requireTenders(isolation: Isolation | 'auto' = 'auto'): Promise<void> {
  const reason = await tenderTrouble(isolation);
  if (reason !== undefined) throw noTender(reason);
}
