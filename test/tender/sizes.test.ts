import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { silentLog } from '../../shared/base/log.ts';
import { rounds } from '../support/rounds.ts';

const imagePath = fileURLToPath(new URL('../../build/unikernel/tasks/echo.elf', import.meta.url));
const KIB = 1024;
// Around the size up to which a payload travels in the frame; above it goes through a memfd.
const sizes = [0, 1, 4 * KIB, 256 * KIB, 256 * KIB + 1, 300_000, 1024 * KIB, 4096 * KIB];

let tender: TenderProcess;
beforeAll(async () => {
  tender = new TenderProcess({ imagePath, log: silentLog() });
  await tender.start();
});
afterAll(() => tender.stop());

it('gives back each input whole, small and large ones one right after the other', async () => {
  // No pause between the calls: the tender once scrubbed the memfd when the next input was in it already.
  for (let round = 0; round < rounds(120, 400); round++) {
    const size = sizes[(round * 5) % sizes.length]!;
    const input = Buffer.alloc(size, (round % 255) + 1);
    const result = await tender.call(input, 5000);
    expect(result.outcome).toBe('done');
    if (result.outcome === 'done' && !input.equals(result.output)) {
      throw new Error(`call ${round}: ${size} bytes came back changed, the first of them as ${result.output[0]}`);
    }
  }
});
