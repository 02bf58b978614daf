import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TenderProcess } from '../../../broker/tenders/process/tender-process.ts';
import { findEngine } from '../../../obu/engine/find-engine.ts';
import { messageOf } from '../../../shared/base/errors.ts';
import { silentLog } from '../../../shared/base/log.ts';
import { guestImage } from '../../tender/support-paths.ts';

/** What this machine can, decided once a run: each is the reason why it cannot, and empty where it can. */
export interface Machine {
  /** A tender with isolation `process`, which every machine must have. */
  readonly tender: string;
  /** A tender with isolation `vm`, which needs a KVM that proves itself. */
  readonly vm: string;
  /** A Docker Engine, or what a private one needs. */
  readonly engine: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    machine: Machine;
  }
}

/** Tries each part. */
export async function lookAtMachine(): Promise<Machine> {
  return { tender: await tenderTrouble('process'), vm: await tenderTrouble('vm'), engine: await engineTrouble() };
}

async function tenderTrouble(isolation: 'process' | 'vm'): Promise<string> {
  try {
    const tender = new TenderProcess({ imagePath: guestImage('hello'), log: silentLog(), isolation });
    try {
      await tender.start();
      const { outcome } = await tender.call(Buffer.from('road'), 5000);
      if (outcome !== 'done') return `a first call ended as ${outcome}`;
    } finally {
      await tender.stop();
    }
    return '';
  } catch (error) {
    return messageOf(error);
  }
}

async function engineTrouble(): Promise<string> {
  try {
    if ((await findEngine(silentLog())) !== undefined) return '';
  } catch (error) {
    return messageOf(error);
  }
  if (process.getuid?.() !== 0) return 'no Docker Engine answers, and only root can start a private one';
  const found = `${process.env.PATH}${delimiter}/usr/sbin`.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, 'dockerd'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return found ? '' : 'no Docker Engine answers, and dockerd is not installed';
}
