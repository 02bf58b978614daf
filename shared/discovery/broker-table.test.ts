import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Credentials, createAuthority, issueCertificate } from '../identity/authority.ts';
import { writeIdentity } from '../identity/files.ts';
import type { Identity } from '../identity/identity.ts';
import { loadIdentity } from '../identity/x509-identity.ts';
import {
  type AnnouncedFacts,
  decodeAnnouncement,
  encodeAnnouncement,
  encodeFacts,
  MAX_ANNOUNCEMENT,
} from './announcement.ts';
import { BrokerTable } from './broker-table.ts';
import { LIVE_MS, LOAD_MS, WINDOW_MS } from './found-broker.ts';
import { certificateHashOf, signFacts } from './signature.ts';

const root = mkdtempSync(join(tmpdir(), 'kerb-discovery-'));
let authority: Credentials;
let rsu: Identity;
let twin: Identity;
let foreign: Identity;
let made = 0;

async function identityOf(by: Credentials, id: string): Promise<Identity> {
  const dir = join(root, `d${made++}`);
  await writeIdentity(dir, await issueCertificate(by, { kind: 'broker', id, hosts: [] }), by.certificate);
  return await loadIdentity(dir, 'broker');
}

beforeAll(async () => {
  authority = await createAuthority('Test CA');
  rsu = await identityOf(authority, 'rsu-1');
  twin = await identityOf(authority, 'rsu-1');
  foreign = await identityOf(await createAuthority('Another CA'), 'rsu-1');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const WALL = Date.now();
const FACTS: Omit<AnnouncedFacts, 'certificateHash'> = {
  broker: 'rsu-1',
  instance: WALL - 1000,
  changes: 1,
  issuedAt: WALL,
  host: '',
  port: 7443,
  kind: 'roadside',
  position: { latitude: 44.5, longitude: 11.3 },
  rangeM: 250,
  tasksHash: 'ab'.repeat(16),
  isolations: ['process'],
  neighbours: ['rsu-2'],
};

async function announced(by: Identity, change: Partial<AnnouncedFacts> = {}, load = { queueMs: 3, freeTenders: 2 }) {
  const { key, certificate } = by.signingKey();
  const signed = encodeFacts({ ...FACTS, certificateHash: certificateHashOf(certificate), ...change });
  return encodeAnnouncement(signed, await signFacts(signed, key), load);
}

const certificateOf = (identity: Identity) => identity.signingKey().certificate;
let table: BrokerTable;
beforeEach(() => {
  table = new BrokerTable(
    () => rsu,
    () => WALL,
  );
});

describe('the bytes', () => {
  it('hold all facts, and the load beside them', async () => {
    const bytes = await announced(rsu);
    const { facts, load } = decodeAnnouncement(bytes);
    expect(facts).toEqual({ ...FACTS, certificateHash: certificateHashOf(certificateOf(rsu)) });
    expect(load).toEqual({ queueMs: 3, freeTenders: 2 });
    expect(decodeAnnouncement(Buffer.concat([bytes, Buffer.from('of a later version')])).facts).toEqual(facts);
  });

  it('leave out neighbours that there is no room for, and never get longer than 400', async () => {
    const long = 'b'.repeat(63);
    const neighbours = Array.from({ length: 16 }, (_, i) => `${long.slice(2)}${i + 10}`);
    const bytes = await announced(rsu, { broker: long, host: 'h'.repeat(60), neighbours });
    expect(bytes.length).toBeLessThanOrEqual(MAX_ANNOUNCEMENT);
    const kept = decodeAnnouncement(bytes).facts.neighbours;
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(16);
    expect(() => encodeAnnouncement(Buffer.alloc(380), Buffer.alloc(70), { queueMs: 0, freeTenders: 0 })).toThrow(
      /400/,
    );
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['too long', Buffer.alloc(401)],
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\n')],
    ['another version', Buffer.from('4b424102', 'hex')],
    ['cut off', Buffer.from('4b424101ffffff', 'hex')],
  ])('that are %s are refused', (_, bytes) => {
    expect(() => decodeAnnouncement(bytes)).toThrow();
    table.hear(bytes, '10.0.0.1', 0);
    expect(table.counts).toMatchObject({ heard: 1, malformed: 1 });
    expect(table.list(0)).toEqual([]);
  });

  it.each<[string, Partial<AnnouncedFacts>]>([
    ['id', { broker: '../etc' }],
    ['host', { host: 'a b' }],
    ['port', { port: 0 }],
    ['port', { port: 70_000 }],
    ['kind', { kind: 'boat' as 'cell' }],
    ['position', { position: { latitude: 91, longitude: Number.NaN } }],
    ['isolations', { isolations: ['\u001b[2J'] }],
    ['neighbours', { neighbours: ['a b'] }],
    ['certificate', { certificateHash: 'ab' }],
  ])('with an invalid %s are refused', async (what, change) => {
    expect(() =>
      decodeAnnouncement(
        encodeAnnouncement(encodeFacts({ ...FACTS, certificateHash: 'ab'.repeat(32), ...change }), Buffer.alloc(64), {
          queueMs: 0,
          freeTenders: 0,
        }),
      ),
    ).toThrow(new RegExp(what));
  });
});

describe('a broker', () => {
  it('is a hint until its certificate was seen, and verified from then on', async () => {
    table.hear(await announced(rsu), '10.0.0.1', 0);
    expect(table.list(1)).toMatchObject([{ broker: 'rsu-1', state: 'unverified', url: 'https://10.0.0.1:7443' }]);
    expect(table.show(certificateOf(rsu))).toBe('');
    expect(table.list(1)).toMatchObject([{ state: 'verified', reason: '', load: { queueMs: 3, freeTenders: 2 } }]);
    expect(table.heard(1)).toHaveLength(1);
  });

  it('has a load of at most 500 ms, and is gone when it is silent', async () => {
    table.show(certificateOf(rsu));
    const bytes = await announced(rsu);
    table.hear(bytes, '10.0.0.1', 0);
    expect(table.list(LOAD_MS)[0]!.load).toBeDefined();
    expect(table.list(LOAD_MS + 1)[0]!.load).toBeUndefined();
    expect(table.list(LIVE_MS + 1)).toEqual([]);
    table.hear(bytes, '10.0.0.1', LIVE_MS + 2);
    expect(table.list(LIVE_MS + 3)).toMatchObject([{ state: 'verified', ageMs: 1 }]);
  });

  it('has a new load without a new signature', async () => {
    table.show(certificateOf(rsu));
    const bytes = await announced(rsu);
    table.hear(bytes, '10.0.0.1', 0);
    bytes.writeUInt32BE(77, bytes.length - 6);
    table.hear(bytes, '10.0.0.1', 250);
    expect(table.list(250)[0]!.load).toEqual({ queueMs: 77, freeTenders: 2 });
    expect(table.counts).toMatchObject({ forged: 0, replayed: 0 });
  });

  it.each([
    ['of another authority', () => foreign, /authority/],
    ['that cannot be read', () => undefined, /cannot be read/],
  ])('is not verified by a certificate %s', async (_, by, why) => {
    table.hear(await announced(by() ?? rsu), '10.0.0.1', 0);
    expect(table.show(by() === undefined ? Buffer.from('none') : certificateOf(by()!))).toMatch(why);
    table.fail(table.list(0)[0]!, 'it was asked in vain');
    expect(table.list(0)).toMatchObject([{ state: 'unverified', reason: 'it was asked in vain' }]);
  });

  it('whose certificate is believed no more is a hint again', async () => {
    let own: Identity = rsu;
    const changing = new BrokerTable(
      () => own,
      () => WALL,
    );
    changing.show(certificateOf(rsu));
    changing.hear(await announced(rsu), '10.0.0.1', 0);
    own = foreign;
    changing.review();
    expect(changing.list(0)).toMatchObject([{ state: 'unverified', reason: expect.stringContaining('not trusted') }]);
  });

  it('that is renewed is verified anew, with no word of a conflict', async () => {
    for (const one of [rsu, twin]) table.show(certificateOf(one));
    table.hear(await announced(rsu), '10.0.0.1', 0);
    table.hear(await announced(twin, { changes: 2 }), '10.0.0.1', 250);
    table.hear(await announced(twin, { changes: 2 }), '10.0.0.1', 500);
    expect(table.list(500).map(({ state }) => state)).toEqual(['verified', 'verified']);
    expect(table.list(LIVE_MS + 1)).toMatchObject([{ state: 'verified' }]);
  });
});

describe('a liar', () => {
  it('cannot change what was signed', async () => {
    table.show(certificateOf(rsu));
    const bytes = await announced(rsu);
    table.hear(bytes, '10.0.0.1', 0);
    const { facts, signature, load } = decodeAnnouncement(bytes);
    table.hear(encodeAnnouncement(encodeFacts({ ...facts, port: 1, changes: 9 }), signature, load), '10.0.0.6', 1);
    expect(table.counts.forged).toBe(1);
    expect(table.list(1)).toMatchObject([{ url: 'https://10.0.0.1:7443', state: 'verified' }]);
  });

  it('gains nothing by saying again what was said', async () => {
    table.show(certificateOf(rsu));
    const old = await announced(rsu);
    const now = await announced(rsu, { changes: 2, port: 7444 });
    table.hear(old, '10.0.0.1', 0);
    table.hear(now, '10.0.0.1', 10);
    table.hear(old, '10.0.0.6', 20);
    table.hear(now, '10.0.0.6', 20);
    expect(table.counts.replayed).toBe(1);
    expect(table.list(20)).toMatchObject([{ url: 'https://10.0.0.1:7444' }]);
    // What a process had said before it was started again.
    table.hear(await announced(rsu, { instance: WALL + 10, issuedAt: WALL + 10 }), '10.0.0.1', 30);
    table.hear(now, '10.0.0.1', 40);
    expect(table.counts.replayed).toBe(2);
    expect(table.list(40)).toMatchObject([{ state: 'verified', url: 'https://10.0.0.1:7443' }]);
    const late = new BrokerTable(
      () => rsu,
      () => WALL + WINDOW_MS + 1,
    );
    late.show(certificateOf(rsu));
    late.hear(old, '10.0.0.6', 0);
    expect(late.counts.replayed).toBe(1);
    expect(late.list(0)).toEqual([]);
  });

  it('with 10,000 ids pushes no verified broker out, and takes little', async () => {
    table.hear(await announced(rsu), '10.0.0.1', 0);
    table.show(certificateOf(rsu));
    const { signature, load } = decodeAnnouncement(await announced(rsu));
    for (let i = 0; i < 10_000; i++) {
      const facts = { ...FACTS, broker: `b${i}`, certificateHash: i.toString(16).padStart(64, '0') };
      table.hear(
        encodeAnnouncement(encodeFacts(facts), signature, load),
        i % 2 === 0 ? '10.0.0.6' : `10.1.${i >> 8}.${i & 255}`,
        1,
      );
    }
    expect(table.list(1).find(({ broker }) => broker === 'rsu-1')).toMatchObject({ state: 'verified' });
    expect(table.size).toBeLessThanOrEqual(257);
    expect(table.list(1).filter(({ from }) => from === '10.0.0.6').length).toBeLessThanOrEqual(8);
  });

  it('who names the certificate of another one does not keep the processor busy', async () => {
    table.show(certificateOf(rsu));
    const { facts, signature, load } = decodeAnnouncement(await announced(rsu));
    for (let changes = 2; changes < 1000; changes++) {
      table.hear(encodeAnnouncement(encodeFacts({ ...facts, changes }), signature, load), '10.0.0.6', 1);
    }
    expect(table.counts.forged).toBeLessThanOrEqual(20);
    expect(table.counts.limited).toBeGreaterThan(900);
    table.hear(await announced(rsu), '10.0.0.1', 2);
    expect(table.list(2)).toMatchObject([{ state: 'verified' }]);
  });
});

describe('two brokers of one id', () => {
  it.each([
    ['two certificates', () => twin, {}],
    ['one certificate', () => rsu, { instance: WALL - 500 }],
  ])('with %s are both shown, and neither is preferred', async (_, other, change) => {
    for (const one of [rsu, twin]) table.show(certificateOf(one));
    const [a, b] = [await announced(rsu), await announced(other(), { ...change, port: 9000 })];
    for (const now of [0, 250, 500]) {
      table.hear(a, '10.0.0.1', now);
      table.hear(b, '10.0.0.2', now + 1);
    }
    expect(table.list(501)).toMatchObject([
      {
        broker: 'rsu-1',
        state: 'conflict',
        url: 'https://10.0.0.1:7443',
        reason: expect.stringMatching(/two brokers/),
      },
      { broker: 'rsu-1', state: 'conflict', url: 'https://10.0.0.2:9000' },
    ]);
  });
});
