import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile, mkdir, readFile, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { type Credentials, createAuthority, issueCertificate } from './authority.ts';
import { writeIdentity } from './files.ts';
import type { Identity } from './identity.ts';
import { codeOf, fixedIdentity, type IdentityState, IdentityWatch } from './identity-watch.ts';
import { IDENTITY_FILES, loadIdentity } from './x509-identity.ts';

const DAY_MS = 86_400_000;
let root: string;
let authority: Credentials;
let made = 0;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-identity-watch-'));
  authority = await createAuthority('Test CA');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function folder({ id = 'car-1', days = 365, issuer = authority } = {}): Promise<string> {
  const dir = join(root, `d${made++}`);
  const issued = await issueCertificate(issuer, { kind: 'vehicle', id, tenant: 'ACME' }, days);
  await writeIdentity(dir, issued, issuer.certificate);
  return dir;
}

/** A watch whose clock is off by `clock.offMs`, with what it has said and handed out. */
async function watching(dir: string, offMs = 0) {
  const clock = { offMs };
  const states: IdentityState[] = [];
  const given: Identity[] = [];
  let renewals = 0;
  const watch = new IdentityWatch({
    dir,
    kind: 'vehicle',
    id: 'car-1',
    wallMs: () => Date.now() + clock.offMs,
    onState: (state) => states.push(state),
    onRenewed: () => renewals++,
  });
  watch.follow((identity) => given.push(identity));
  await watch.look();
  return { watch, clock, states, given, renewals: () => renewals };
}

test('a good identity is handed out at once, also to who asks later', async () => {
  const { watch, given, states } = await watching(await folder());
  expect(given).toHaveLength(1);
  expect(watch.trouble).toBe('');
  expect(states.map(({ word }) => word)).toEqual(['Valid']);
  const late: Identity[] = [];
  watch.follow((identity) => late.push(identity));
  expect(late).toEqual(given);
});

test('a clock before the certificate is waited for', async () => {
  const dir = await folder();
  const { watch, clock, given, states } = await watching(dir, -20 * 365 * DAY_MS);
  expect(given).toEqual([]);
  expect(watch.state).toMatchObject({ word: 'WaitingForClock', reason: expect.stringContaining(dir) });
  expect(watch.trouble).not.toBe('');
  clock.offMs = 0;
  await watch.look();
  expect(given).toHaveLength(1);
  expect(states.map(({ word }) => word)).toEqual(['WaitingForClock', 'Valid']);
});

test('an expired certificate is waited for until the folder is replaced', async () => {
  const dir = await folder({ days: 100 });
  const { watch, given, states, renewals } = await watching(dir, 200 * DAY_MS);
  expect(watch.state.word).toBe('Expired');
  expect(watch.trouble).toContain('--tenant "ACME"');
  expect(given).toEqual([]);
  const next = await folder({ days: 365 });
  for (const name of Object.values(IDENTITY_FILES)) await copyFile(join(next, name), join(dir, name));
  await watch.look();
  expect(given).toHaveLength(1);
  expect(renewals()).toBe(0); // nobody had the one before
  expect(states.map(({ word }) => word)).toEqual(['Expired', 'Valid']);
});

test.each([
  [31, 'Valid'],
  [29, 'ExpiresSoon'],
])('with %i days left it is %s, and in use', async (left, word) => {
  const { watch, given } = await watching(await folder({ days: 365 }), (365 - left) * DAY_MS);
  expect(watch.state.word).toBe(word);
  expect(given).toHaveLength(1);
  expect(watch.trouble).toBe('');
});

test('a jump of years in either direction takes nothing away from who has it, and gives it to nobody twice', async () => {
  const { watch, clock, given, states } = await watching(await folder());
  for (const years of [30, -40, 0]) {
    clock.offMs = years * 365 * DAY_MS;
    await watch.look();
  }
  expect(given).toHaveLength(1);
  expect(states.map(({ word }) => word)).toEqual(['Valid', 'Expired', 'WaitingForClock', 'Valid']);
});

test('a replaced folder is taken up, and half of one is not', async () => {
  const dir = await folder();
  const { watch, given, states, renewals } = await watching(dir);
  const next = await folder();
  await copyFile(join(next, IDENTITY_FILES.key), join(dir, IDENTITY_FILES.key));
  await watch.look();
  expect(given).toHaveLength(1);
  expect(watch.state).toMatchObject({ word: 'Valid', folderFault: expect.stringContaining(dir) });
  expect(watch.trouble).toBe('');
  await copyFile(join(next, IDENTITY_FILES.certificate), join(dir, IDENTITY_FILES.certificate));
  await watch.look();
  expect(given).toHaveLength(2);
  expect(renewals()).toBe(1);
  expect(watch.state.folderFault).toBe('');
  expect(states).toHaveLength(3);
  const cert = await readFile(join(next, IDENTITY_FILES.certificate), 'utf8');
  expect(given[1]!.serverOptions().cert).toBe(cert);
});

test('a folder that is exchanged as a whole, or the link to it, is taken up', async () => {
  const dir = await folder();
  const { watch, given } = await watching(dir);
  const next = await folder();
  renameSync(dir, `${dir}.old`);
  await watch.look();
  expect(watch.state.word).toBe('Valid'); // nothing is there for a moment
  await symlink(next, dir);
  await watch.look();
  expect(given).toHaveLength(2);
});

test('what is worse than what is known is not taken', async () => {
  const dir = await folder({ days: 365 });
  const { watch, given } = await watching(dir, 100 * DAY_MS);
  const next = await folder({ days: 50 });
  for (const name of Object.values(IDENTITY_FILES)) await copyFile(join(next, name), join(dir, name));
  await watch.look();
  expect(given).toHaveLength(1);
  expect(watch.state).toMatchObject({ word: 'Valid', folderFault: expect.stringContaining(dir) });
});

test.each<[string, (dir: string) => Promise<void>]>([
  ['no folder', async (dir) => rmSync(dir, { recursive: true })],
  [
    'an empty folder',
    async (dir) => {
      rmSync(dir, { recursive: true });
      await mkdir(dir);
    },
  ],
  [
    'a file in its place',
    async (dir) => {
      rmSync(dir, { recursive: true });
      writeFileSync(dir, 'x');
    },
  ],
  [
    'a certificate cut in half',
    async (dir) => {
      const path = join(dir, IDENTITY_FILES.certificate);
      writeFileSync(path, (await readFile(path, 'utf8')).slice(0, 300));
    },
  ],
  [
    'somebody else',
    async (dir) => {
      const other = await folder({ id: 'car-2' });
      for (const name of Object.values(IDENTITY_FILES)) await copyFile(join(other, name), join(dir, name));
    },
  ],
  [
    'another authority',
    async (dir) => {
      const other = await createAuthority('Other CA');
      writeFileSync(join(dir, IDENTITY_FILES.authorities), other.certificate);
    },
  ],
])('%s is waited for, and fails nothing', async (_what, spoil) => {
  const dir = await folder();
  await spoil(dir);
  const { watch, given, states } = await watching(dir);
  expect(given).toEqual([]);
  expect(watch.state).toMatchObject({ word: 'Unusable', expiresAtMs: undefined });
  expect(watch.trouble).not.toBe('');
  expect(states).toHaveLength(1);
  await watch.look();
  expect(states).toHaveLength(1); // said once
  rmSync(dir, { recursive: true, force: true });
  renameSync(await folder(), dir);
  await watch.look();
  expect(given).toHaveLength(1);
});

test('by itself it looks again and again, until it is stopped', async () => {
  const dir = await folder();
  renameSync(dir, `${dir}.later`);
  const given: Identity[] = [];
  const watch = new IdentityWatch({ dir, kind: 'vehicle', id: 'car-1' });
  watch.follow((identity) => given.push(identity));
  await watch.start();
  expect(given).toEqual([]);
  renameSync(`${dir}.later`, dir);
  await expect.poll(() => given.length, { timeout: 30_000 }).toBe(1);
  await watch.stop();
});

test('each state has a code of its own, and a fixed identity is there at once', async () => {
  expect(codeOf('WaitingForClock')).toBe(ErrorCode.ClockNotSet);
  expect(codeOf('Expired')).toBe(ErrorCode.IdentityExpired);
  expect(codeOf('Unusable')).toBe(ErrorCode.BadIdentity);
  const identity = await loadIdentity(await folder(), 'vehicle');
  const given: Identity[] = [];
  fixedIdentity(identity).follow((one) => given.push(one));
  expect(given).toEqual([identity]);
});
