import { createHash, createPrivateKey, randomBytes, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import {
  type Credentials,
  createAuthority,
  createRevocationList,
  issueCertificate,
} from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { leafHash, merkleTree } from '../../shared/protocol/merkle.ts';
import { signedBytes } from '../../shared/v2e-client/receipt.ts';
import { receiptLines, verifyFile } from './verify-receipt.ts';

const { Receipt, SignedReceipt } = kerbside.v2e;

let root: string;
let authority: Credentials;
let broker: Credentials;
let vehicle: Credentials;
let other: Credentials;
let ca: string;
let next = 0;
const input = Buffer.from('picture');
const output = Buffer.from('result');
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-receipt-'));
  authority = await createAuthority('Test CA');
  other = await createAuthority('Other CA');
  broker = await issueCertificate(authority, { kind: 'broker', id: 'rsu-1', hosts: [] });
  vehicle = await issueCertificate(authority, { kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  ca = file(Buffer.from(other.certificate + authority.certificate));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function file(bytes: Uint8Array): string {
  const path = join(root, `f${next++}`);
  writeFileSync(path, bytes);
  return path;
}

function factsOf(change: object = {}) {
  return {
    ...{ broker: 'rsu-1', tenant: 'ACME', vehicle: 'car-1', id: 'o/1', taskDigest: 'sha256:a' },
    ...{ inputSha256: sha256(input), outputSha256: sha256(output), isolation: 'vm' },
    ...{ startedAt: Date.now(), queueMs: 1, runMs: 2, cpuMs: 1.5 },
    ...change,
  };
}

/** A receipt among `leaves`, as a broker signs it; `change` is made to what is sent. */
function signed(facts: object = {}, leaves = 1, by = broker, change: object = {}): Buffer {
  const receipts = Array.from({ length: leaves }, (_, i) =>
    Receipt.encode(factsOf(i === 0 ? facts : { id: `other/${i}` })).finish(),
  );
  const { root: top, paths } = merkleTree(receipts.map(leafHash));
  const signature = sign('sha256', signedBytes(top), createPrivateKey(by.key));
  const certificate = new X509Certificate(by.certificate).raw;
  const message = { receipt: receipts[0]!, signature, certificate, leaf: 0, leaves, path: [...paths[0]!], ...change };
  return Buffer.from(SignedReceipt.encode(message).finish());
}

const invalid = (why: RegExp) => ({ code: ErrorCode.ReceiptInvalid, message: expect.stringMatching(why) });

test('a good one is shown: raw or base64, alone or of a batch, with the files that were compared', async () => {
  const files = { ca, input: file(input), output: file(output) };
  const shown = await verifyFile(file(signed()), files);
  expect(shown).toMatchObject({
    ...{ broker: 'rsu-1', tenant: 'ACME', vehicle: 'car-1', id: 'o/1', isolation: 'vm', runMs: 2, batch: 1 },
    inputSha256: sha256(input).toString('hex'),
    authority: 'CN=Test CA',
    compared: ['input', 'output'],
  });
  expect(receiptLines(shown).join('\n')).toContain('o/1 of vehicle car-1');
  const text = signed({}, 5)
    .toString('base64')
    .replace(/(.{76})/g, '$1\n');
  expect(await verifyFile(file(Buffer.from(`${text}\n`)), { ca })).toMatchObject({ batch: 5, compared: [] });
});

describe('what is not a good one', () => {
  test.each([
    ['garbage', () => randomBytes(500), /not a valid|cannot be read|lacks/],
    ['half of one', () => signed().subarray(0, 300), /not a valid/],
    ['an empty file', () => Buffer.alloc(0), /is empty/],
    ['a large file', () => Buffer.alloc(70_000), /more than/],
    ['no hashes', () => signed({ inputSha256: Buffer.alloc(5) }), /lacks the hashes/],
    ['a time that is none', () => signed({ startedAt: Number.NaN }), /lacks the hashes/],
    [
      'changed facts',
      () => signed({}, 1, broker, { receipt: Receipt.encode(factsOf({ runMs: 1 })).finish() }),
      /changed/,
    ],
    ['another signature', () => signed({}, 1, broker, { signature: randomBytes(70) }), /changed/],
    ['no certificate', () => signed({}, 1, broker, { certificate: Buffer.from('none') }), /certificate in it/],
    ['another place in the batch', () => signed({}, 4, broker, { leaf: 2 }), /changed/],
    ['no way to the root', () => signed({}, 4, broker, { path: [] }), /batch/],
    ['a place outside of the batch', () => signed({}, 4, broker, { leaf: 4 }), /batch/],
    [
      'an endless way',
      () => signed({}, 1, broker, { leaves: 2 ** 32 - 1, path: Array(1000).fill(sha256(input)) }),
      /batch/,
    ],
    ['a vehicle that signs', () => signed({}, 1, vehicle), /vehicle car-1 has signed/],
    ['another broker', () => signed({ broker: 'rsu-2' }), /broker rsu-1 has signed/],
    ['a run before the certificate', () => signed({ startedAt: 0 }), /was not valid when the task ran/],
    ['a run after the certificate', () => signed({ startedAt: 1e300 }), /was not valid when the task ran/],
  ])('%s', async (_what, make, why) => {
    await expect(verifyFile(file(make()), { ca })).rejects.toMatchObject(invalid(why));
  });

  test('any changed byte', async () => {
    const good = signed({}, 3);
    for (let i = 0; i < good.length; i += 7) {
      const bad = Buffer.from(good);
      bad[i]! ^= 0x41;
      const found = await verifyFile(file(bad), { ca }).catch((error: unknown) => error);
      if (found instanceof Error) expect(found).toMatchObject({ code: ErrorCode.ReceiptInvalid });
      // Bytes that say nothing, as in an unknown field, may change; what it says may not.
      else expect(found).toMatchObject({ id: 'o/1', broker: 'rsu-1', runMs: 2 });
    }
  });

  test('an authority that is not trusted, and other files', async () => {
    const good = file(signed());
    await expect(verifyFile(good, { ca: file(Buffer.from(other.certificate)) })).rejects.toMatchObject(
      invalid(/none of the given authorities/),
    );
    await expect(verifyFile(good, { ca, input: file(output) })).rejects.toMatchObject(invalid(/another input/));
    await expect(verifyFile(good, { ca, output: file(input) })).rejects.toMatchObject(invalid(/another output/));
  });

  test('files that are not there', async () => {
    const none = join(root, 'none');
    for (const files of [{ ca: none }, { ca, input: none }, { identity: root }]) {
      await expect(verifyFile(file(signed()), files)).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    }
    await expect(verifyFile(none, { ca })).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    await expect(verifyFile(file(signed()), { ca: file(input) })).rejects.toMatchObject({
      code: ErrorCode.BadIdentity,
    });
  });
});

describe('revocation', () => {
  const listOf = async (by: Credentials, certificates: readonly Credentials[]) => {
    const serials = certificates.map(({ certificate }) => new X509Certificate(certificate).serialNumber);
    return await createRevocationList(by, new Map(serials.map((serial) => [serial, new Date(0)])));
  };

  test('a list that does not name the broker says so; without one of its authority nothing was checked', async () => {
    const good = file(signed());
    const checked = await verifyFile(good, { ca, crl: file(Buffer.from(await listOf(authority, [vehicle]))) });
    expect(checked.revocationChecked).toBe(true);
    expect(receiptLines(checked).join('\n')).toContain('revocation not revoked');
    const others = await verifyFile(good, { ca, crl: file(Buffer.from(await listOf(other, [broker]))) });
    expect(others.revocationChecked).toBe(false);
    const none = await verifyFile(good, { ca });
    expect(none.revocationChecked).toBe(false);
    expect(receiptLines(none).join('\n')).toMatch(/revocation not checked: .*--crl/);
  });

  test('a revoked broker is not believed, by --crl or by crl.pem of the identity, whatever time the receipt says', async () => {
    const list = await listOf(authority, [broker]);
    const dir = join(root, `d${next++}`);
    await writeIdentity(dir, vehicle, authority.certificate);
    const receipt = file(signed());
    expect(await verifyFile(receipt, { identity: dir })).toMatchObject({ revocationChecked: false });
    writeFileSync(join(dir, 'crl.pem'), list);
    const crl = file(Buffer.from(list));
    for (const files of [{ ca, crl }, { identity: dir }, { identity: dir, crl }]) {
      await expect(verifyFile(receipt, files)).rejects.toMatchObject(invalid(/was revoked on 1970-01-01/));
    }
  });

  test('lists that cannot be used', async () => {
    const receipt = file(signed());
    const stranger = await createAuthority('Stranger CA');
    await expect(verifyFile(receipt, { ca, crl: join(root, 'none') })).rejects.toMatchObject({
      code: ErrorCode.BadConfig,
    });
    for (const bad of ['no list', await listOf(stranger, [broker])]) {
      const crl = file(Buffer.from(bad));
      await expect(verifyFile(receipt, { ca, crl })).rejects.toMatchObject({ code: ErrorCode.BadIdentity });
    }
  });
});
