import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../base/log.ts';
import { ServiceManager } from './service-manager.ts';

let folder: string;
let heard: string;
let notifier: string;
const managers: ServiceManager[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-notify-'));
  heard = join(folder, 'heard');
  notifier = join(folder, 'systemd-notify');
  await writeFile(heard, '');
  await writeFile(notifier, `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >> ${heard}\necho >> ${heard}\n`);
  await chmod(notifier, 0o755);
});
afterEach(async () => {
  for (const manager of managers.splice(0)) await manager.stopping();
  await rm(folder, { recursive: true, force: true });
});

function managerWith(env: NodeJS.ProcessEnv, program = notifier) {
  const manager = new ServiceManager({ env, pid: 7, log: silentLog(), notifier: program });
  managers.push(manager);
  return manager;
}
const lines = async () => (await readFile(heard, 'utf8')).split('\n').filter((line) => line !== '');

async function until(enough: (lines: string[]) => boolean): Promise<string[]> {
  for (;;) {
    const all = await lines();
    if (enough(all)) return all;
    await sleep(20);
  }
}

test('says that it is ready, lives and stops, and leaves nothing of it to children', async () => {
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '40000', WATCHDOG_PID: '7', PATH: '/bin' };
  const manager = managerWith(env);
  expect(env).toEqual({ PATH: '/bin' });
  await manager.ready('two\nlines');
  const all = await until((seen) => seen.length >= 4);
  expect(all[0]).toBe('/run/n|--pid=7|READY=1|STATUS=two lines|');
  expect(new Set(all.slice(1))).toEqual(new Set(['/run/n|--pid=7|WATCHDOG=1|']));
  await manager.stopping();
  expect(await lines()).toContain('/run/n|--pid=7|STOPPING=1|STATUS=stopping|');
});

test.each([
  ['no socket', {}],
  ['no socket but a watchdog', { WATCHDOG_USEC: '1000' }],
])('says nothing with %s', async (_what, env) => {
  await managerWith(env).ready('up');
  expect(await lines()).toEqual([]);
});

test.each([
  ['a watchdog that watches another process', { WATCHDOG_USEC: '1000', WATCHDOG_PID: '8' }],
  ['a watchdog time that is no number', { WATCHDOG_USEC: 'soon' }],
  ['a watchdog time of nothing', { WATCHDOG_USEC: '-5' }],
])('gives no signs of life to %s', async (_what, env) => {
  await managerWith({ NOTIFY_SOCKET: '/run/n', ...env }).ready('up');
  await sleep(50);
  expect(await lines()).toEqual(['/run/n|--pid=7|READY=1|STATUS=up|']);
});

test('goes on where there is no systemd-notify', async () => {
  await managerWith({ NOTIFY_SOCKET: '/run/n' }, join(folder, 'missing')).ready('up');
});
