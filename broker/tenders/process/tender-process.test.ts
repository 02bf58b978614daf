import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

// What the tender does with a unikernel is tested in test/tender; here is what it does without a process.

test('a start without a descriptor left fails, and does not end the broker', async () => {
  const script = `
    const { openSync } = await import('node:fs');
    const { TenderProcess } = await import(${JSON.stringify(join(import.meta.dirname, 'tender-process.ts'))});
    const { silentLog } = await import(${JSON.stringify(join(import.meta.dirname, '../../../shared/base/log.ts'))});
    const tender = new TenderProcess({ imagePath: '/none', log: silentLog(), binary: process.execPath });
    process.stdout.write(''); // opens it while that can be done
    try { for (;;) openSync('/dev/null'); } catch {}
    const error = await tender.start().catch((error) => error);
    await new Promise(setImmediate);
    await tender.stop();
    process.stdout.write(error.code + ' ' + error.message + ' ' + tender.state);
  `;
  const { stdout } = await promisify(execFile)('sh', [
    '-c',
    'ulimit -n 64 && exec "$0" --input-type=module -e "$1"',
    process.execPath,
    script,
  ]);
  expect(stdout).toBe(`8002 tender for /none: cannot be run: spawn ${process.execPath} EMFILE Dead`);
});
