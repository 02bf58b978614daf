import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TenderProcess } from '../broker/tenders/process/tender-process.ts';
import { type Measurement, summarise } from './measure.ts';
import { callWell, computedUs, makeTender, native, type Say, TENDER_SUITE as suite, withTender } from './tenders.ts';

/**
 * The ways to put memory back, in isolation `vm`: the tender that brokers use, which chooses, and tenders that were built to
 * know one way only (see RESET_ in broker/unikernel/Makefile).
 */
const ways = [
  { name: 'as brokers do', binary: undefined },
  { name: 'compare and copy back', binary: join(native, 'kerb-tender-copy') },
  { name: 'madvise(MADV_DONTNEED)', binary: join(native, 'kerb-tender-drop') },
  { name: "KVM's dirty log", binary: join(native, 'kerb-tender-log') },
];
const cases = [
  { memory: '512K', changed: 16 * 1024, label: '512 KiB, 16 KiB changed' },
  { memory: '512K', changed: 128 * 1024, label: '512 KiB, 128 KiB changed' },
  { memory: '16M', changed: 16 * 1024, label: '16 MiB, 16 KiB changed' },
  { memory: '16M', changed: 8 * 1024 * 1024, label: '16 MiB, 8 MiB changed' },
];
const BATCHES = 25;
const BATCH = 20;
const SETTLED_MS = 2;

/**
 * A way to reset costs the caller what the call itself has to wait for (pages that were dropped, or that are watched for
 * writing, fault when they are next written to), and the machine what the tender computes after the answer. Nobody waits
 * for the latter, so it cannot be timed from outside: what is measured is what the tender has computed, call and reset
 * together, as the mean of a batch of calls.
 */
export async function* resets(say: Say): AsyncGenerator<Measurement> {
  for (const { memory, changed, label } of cases) {
    const input = Buffer.alloc(4);
    input.writeUInt32LE(changed);
    for (const { name, binary } of ways) {
      say(`vm: reset of ${label}: ${name}`);
      const tender = makeTender('vm', { imagePath: join(native, `dirty-${memory}.elf`), binary });
      yield* await withTender(tender, async () => {
        const inside: number[] = [];
        const computed: number[] = [];
        for (let i = 0; i <= BATCHES; i++) {
          const before = await settled(tender);
          for (let j = 0; j < BATCH; j++) inside.push((await callWell(tender, input)).runMs * 1000);
          computed.push(((await settled(tender)) - before) / BATCH);
        }
        return [
          summarise(suite, `vm, ${label}, ${name}: inside the call`, 'us', inside.slice(BATCH)),
          summarise(suite, `vm, ${label}, ${name}: call and reset`, 'us CPU', computed.slice(1)),
        ];
      });
    }
  }
}

/** What the tender has computed, when it computes no more, in microseconds. */
async function settled(tender: TenderProcess): Promise<number> {
  for (let before = computedUs(tender.pid!); ; ) {
    await sleep(SETTLED_MS);
    const now = computedUs(tender.pid!);
    if (now === before) return now;
    before = now;
  }
}
