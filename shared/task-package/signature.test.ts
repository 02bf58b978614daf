import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fakeImage } from '../../test/support/fake-image.ts';
import { ErrorCode } from '../base/errors.ts';
import { digestOf } from './format.ts';
import { readPackageFiles, readTaskPackage, type TaskPackage } from './reader.ts';
import { listSignatures, signTaskPackage, verifyTaskPackage } from './signature.ts';
import {
  createSigner,
  ensureDevelopmentSigner,
  keyIdOf,
  loadSigner,
  loadTrust,
  type Signer,
  type TrustedKeys,
} from './signer.ts';
import { addSignature, buildTaskPackage } from './writer.ts';

// biome-ignore lint/suspicious/noExplicitAny: bundles are taken apart here as a forger would
type Json = any;

const DAY_MS = 86_400_000;
let root: string;
let maker: Signer;
let stranger: Signer;
let trusted: TrustedKeys;
let next = 0;
const fresh = (): string => join(root, `p${next++}`);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-signature-'));
  maker = await createSigner(join(root, 'maker'), 'maker');
  stranger = await createSigner(join(root, 'stranger'), 'stranger');
  trusted = await loadTrust(join(root, 'maker', 'public'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function packaged(filler = ''): Promise<TaskPackage> {
  const dir = fresh();
  await buildTaskPackage(dir, { images: [fakeImage({ filler })], version: '1', isolation: 'any' });
  return await readTaskPackage(dir);
}

async function signed(signer = maker): Promise<TaskPackage> {
  const made = await packaged();
  await signTaskPackage(made, signer);
  return made;
}

/** The bundle of the one signature in a package. */
function bundleOf({ dir }: TaskPackage): Json {
  const blob = (digest: string): Json => JSON.parse(readFileSync(join(dir, 'blobs', ...digest.split(':')), 'utf8'));
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8'));
  return blob(blob(index.manifests[1].digest).layers[0].digest);
}

const refused = (code: ErrorCode, message: RegExp) => ({ code, message: expect.stringMatching(message) });

describe('a signed package', () => {
  test('keeps its digest, and says who signed it and until when', async () => {
    const before = await packaged();
    const { expiresAt } = await signTaskPackage(before, maker, 30);
    const after = await readTaskPackage(before.dir);
    expect(after.digest).toBe(before.digest);
    expect(await verifyTaskPackage(after, trusted)).toMatchObject({ signer: 'maker', keyId: maker.keyId, expiresAt });
    expect(Math.round((expiresAt.getTime() - Date.now()) / DAY_MS)).toBe(30);
  });

  test('is DSSE in a Sigstore bundle, which needs no library to be checked', async () => {
    const made = await signed();
    const bundle = bundleOf(made);
    expect(bundle.mediaType).toBe('application/vnd.dev.sigstore.bundle.v0.3+json');
    expect(bundle.verificationMaterial.publicKey).toEqual({ hint: maker.keyId });
    const { payload, payloadType, signatures } = bundle.dsseEnvelope;
    const bytes = Buffer.from(payload, 'base64');
    const preAuth = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${bytes.length} `), bytes]);
    const key = createPublicKey(readFileSync(join(root, 'maker/public/maker.pem')));
    expect(verify('sha256', preAuth, key, Buffer.from(signatures[0].sig, 'base64'))).toBe(true);
    const statement = JSON.parse(bytes.toString());
    expect(statement).toMatchObject({ _type: 'https://in-toto.io/Statement/v1', subject: [{ name: 'echo' }] });
    expect(`sha256:${statement.subject[0].digest.sha256}`).toBe(made.digest);
  });

  test('may be signed by several; one that is trusted is enough', async () => {
    const made = await signed(stranger);
    await signTaskPackage(made, maker);
    expect((await listSignatures(made)).map(({ keyId }) => keyId)).toEqual([stranger.keyId, maker.keyId]);
    expect((await verifyTaskPackage(made, trusted)).signer).toBe('maker');
  });

  test('signed again by the same key has one signature of it, the new one', async () => {
    const made = await packaged();
    await signTaskPackage(made, maker, 1, Date.now() - 10 * DAY_MS);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject({ code: ErrorCode.TaskSignatureExpired });
    await signTaskPackage(made, maker);
    expect(await listSignatures(made)).toHaveLength(1);
    expect((await verifyTaskPackage(made, trusted)).signer).toBe('maker');
  });
});

describe('the files of a package', () => {
  test('are all that it takes elsewhere, and nothing that lies beside them', async () => {
    const made = await packaged();
    await signTaskPackage(made, maker, 1);
    await signTaskPackage(made, stranger);
    await signTaskPackage(made, maker, 30); // the blobs of the first one are left, and of no use
    writeFileSync(join(made.dir, 'notes.txt'), 'mine');
    const files = await readPackageFiles(made);
    const dir = join(root, 'elsewhere');
    mkdirSync(join(dir, 'blobs/sha256'), { recursive: true });
    for (const { path, bytes } of files) writeFileSync(join(dir, path), bytes, { flag: 'wx' });
    const there = await readTaskPackage(dir);
    expect(there.digest).toBe(made.digest);
    expect((await verifyTaskPackage(there, trusted)).signer).toBe('maker');
    expect(await listSignatures(there)).toHaveLength(2);
    // manifest, config, image; two signatures with a manifest each; their empty config
    expect(readdirSync(join(dir, 'blobs/sha256'))).toHaveLength(3 + 2 * 2 + 1);
    expect(readdirSync(join(made.dir, 'blobs/sha256')).length).toBeGreaterThan(8);
  });

  test('are hashed again when they are read', async () => {
    const made = await signed();
    const path = join(made.dir, 'blobs', ...made.images[0]!.digest.split(':'));
    writeFileSync(path, Buffer.alloc(readFileSync(path).length));
    await expect(readPackageFiles(made)).rejects.toMatchObject({ code: ErrorCode.TaskPackageDigestMismatch });
  });
});

describe('is refused', () => {
  test('unsigned', async () => {
    await expect(verifyTaskPackage(await packaged(), trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskUnsigned, /^task echo 1 in .* is not signed; its maker signs it with `kerb task sign`$/),
    );
  });

  test('signed by a stranger', async () => {
    await expect(verifyTaskPackage(await signed(stranger), trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignerUnknown, new RegExp(`not trusted here \\(${stranger.keyId.slice(0, 16)}…\\)`)),
    );
  });

  test('expired, at that very moment', async () => {
    const made = await packaged();
    const { expiresAt } = await signTaskPackage(made, maker, 7);
    const at = expiresAt.getTime();
    expect((await verifyTaskPackage(made, trusted, at - 1)).signer).toBe('maker');
    await expect(verifyTaskPackage(made, trusted, at)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignatureExpired, /by maker that expired at .*; have it signed again$/),
    );
  });

  test('signed in days to come', async () => {
    const made = await packaged();
    await signTaskPackage(made, maker, 30, Date.now() + 2 * DAY_MS);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignatureInvalid, /still to come; check the clock/),
    );
  });

  test("with another package's signature", async () => {
    const other = await signed();
    const made = await packaged('another image');
    await addSignature(made, [Buffer.from(JSON.stringify(bundleOf(other)))]);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignatureInvalid, /a signature by maker of another package/),
    );
  });

  test.each<[string, (bundle: Json) => void]>([
    [
      'a later expiry',
      (bundle) => {
        const statement = JSON.parse(Buffer.from(bundle.dsseEnvelope.payload, 'base64').toString());
        statement.predicate.expiresAt = '2999-01-01T00:00:00.000Z';
        bundle.dsseEnvelope.payload = Buffer.from(JSON.stringify(statement)).toString('base64');
      },
    ],
    [
      'one bit of the signature',
      (bundle) => {
        const bytes = Buffer.from(bundle.dsseEnvelope.signatures[0].sig, 'base64');
        bytes[bytes.length - 1] = bytes[bytes.length - 1]! ^ 1;
        bundle.dsseEnvelope.signatures[0].sig = bytes.toString('base64');
      },
    ],
    [
      'an empty signature',
      (bundle) => {
        bundle.dsseEnvelope.signatures[0].sig = '';
      },
    ],
    [
      'no signature',
      (bundle) => {
        bundle.dsseEnvelope.signatures = [];
      },
    ],
    [
      'another payload type',
      (bundle) => {
        bundle.dsseEnvelope.payloadType = 'text/plain';
      },
    ],
    [
      'a payload that is no statement',
      (bundle) => {
        bundle.dsseEnvelope.payload = Buffer.from('{}').toString('base64');
      },
    ],
    [
      'another media type',
      (bundle) => {
        bundle.mediaType = 'application/json';
      },
    ],
  ])('tampered with: %s', async (_what, change) => {
    const made = await signed();
    const bundle = bundleOf(made);
    change(bundle);
    await addSignature(made, [Buffer.from(JSON.stringify(bundle))]);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject({ code: ErrorCode.TaskSignatureInvalid });
  });

  test("a stranger's signature under the name of a trusted key", async () => {
    const made = await signed(stranger);
    const bundle = bundleOf(made);
    bundle.verificationMaterial.publicKey.hint = maker.keyId;
    await addSignature(made, [Buffer.from(JSON.stringify(bundle))]);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignatureInvalid, /a signature that maker has not made/),
    );
  });

  test('a bundle that is no JSON, and one that is not what its digest says', async () => {
    const made = await packaged();
    await addSignature(made, [Buffer.from('no JSON')]);
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject({ code: ErrorCode.TaskSignatureInvalid });
    const good = await signed();
    for (const name of readdirSync(join(good.dir, 'blobs/sha256'))) {
      const path = join(good.dir, 'blobs/sha256', name);
      const bytes = readFileSync(path);
      if (!bytes.includes('dsseEnvelope')) continue;
      bytes[20] = bytes[20]! ^ 1;
      writeFileSync(path, bytes);
    }
    await expect(verifyTaskPackage(good, trusted)).rejects.toMatchObject({
      code: ErrorCode.TaskPackageDigestMismatch,
    });
  });

  test('more signatures than anybody needs', async () => {
    const made = await packaged();
    await addSignature(
      made,
      Array.from({ length: 17 }, (_, i) => Buffer.from(`${i}`)),
    );
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject(
      refused(ErrorCode.BadTaskPackage, /holds 17 signatures; the limit is 16/),
    );
  });

  test('a signature whose manifest was changed to be about this package', async () => {
    // The OCI manifest is not signed: what counts is the statement.
    const made = await packaged('this one');
    const other = await signed();
    const blobs = join(made.dir, 'blobs/sha256');
    const manifest = { ...JSON.parse(readFileSync(blobPathOfSignature(other), 'utf8')) };
    manifest.subject = { ...manifest.subject, digest: made.digest };
    cpSync(join(other.dir, 'blobs/sha256'), blobs, { recursive: true });
    const bytes = Buffer.from(JSON.stringify(manifest));
    writeFileSync(join(blobs, digestOf(bytes).slice(7)), bytes);
    const path = join(made.dir, 'index.json');
    const index = JSON.parse(readFileSync(path, 'utf8'));
    index.manifests.push({
      mediaType: manifest.mediaType,
      artifactType: manifest.artifactType,
      digest: digestOf(bytes),
      size: bytes.length,
    });
    writeFileSync(path, JSON.stringify(index));
    await expect(verifyTaskPackage(made, trusted)).rejects.toMatchObject(
      refused(ErrorCode.TaskSignatureInvalid, /of another package/),
    );
  });
});

function blobPathOfSignature({ dir }: TaskPackage): string {
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8'));
  return join(dir, 'blobs', ...index.manifests[1].digest.split(':'));
}

describe('signers', () => {
  test('are loaded as they were made, and their ids are those of their public halves', async () => {
    const loaded = await loadSigner(join(root, 'maker'));
    expect(loaded.keyId).toBe(maker.keyId);
    expect([...trusted]).toMatchObject([[maker.keyId, { name: 'maker' }]]);
    expect(keyIdOf(trusted.get(maker.keyId)!.key)).toBe(maker.keyId);
  });

  test('are not replaced unless that is asked for', async () => {
    const dir = join(root, 'twice');
    const first = await createSigner(dir, 'a');
    await expect(createSigner(dir, 'b')).rejects.toMatchObject(
      refused(ErrorCode.BadIdentity, /there is a key already/),
    );
    expect((await createSigner(dir, 'b', true)).keyId).not.toBe(first.keyId);
    expect(readdirSync(join(dir, 'public'))).toEqual(['b.pem']);
    await expect(createSigner(join(root, 'bad'), '../x')).rejects.toMatchObject(
      refused(ErrorCode.BadIdentity, /not a valid name for a signer/),
    );
  });

  test('for development are made once, also when many ask at once', async () => {
    const asked = await Promise.all(Array.from({ length: 5 }, () => ensureDevelopmentSigner(join(root, 'identity'))));
    const ids = await Promise.all(asked.map(async ({ dir }) => (await loadSigner(dir)).keyId));
    expect(new Set(ids).size).toBe(1);
    expect([...(await loadTrust(asked[0]!.trust)).values()]).toMatchObject([{ name: 'development' }]);
    expect(readdirSync(join(root, 'identity'))).toEqual(['task-signer']);
  });

  test('whose key is missing, open to others, broken or of another kind are refused', async () => {
    const dir = join(root, 'broken');
    await expect(loadSigner(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /key\.pem is missing/));
    await createSigner(dir, 'a');
    chmodSync(join(dir, 'key.pem'), 0o644);
    await expect(loadSigner(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /can be read by others/));
    const put = (text: string): void => {
      rmSync(join(dir, 'key.pem'));
      writeFileSync(join(dir, 'key.pem'), text, { mode: 0o600 });
    };
    put('none');
    await expect(loadSigner(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /is not a valid private key/));
    put(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    await expect(loadSigner(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /curve P-256/));
  });

  test('whose trust directory is missing, empty or holds the wrong keys are not believed', async () => {
    const dir = join(root, 'trust');
    await expect(loadTrust(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /cannot read the trusted keys/));
    mkdirSync(dir);
    await expect(loadTrust(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /holds no public key/));
    cpSync(join(root, 'maker/key.pem'), join(dir, 'key.pem'));
    await expect(loadTrust(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /holds a private key/));
    writeFileSync(join(dir, 'key.pem'), 'none');
    await expect(loadTrust(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /is not a valid public key/));
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    writeFileSync(join(dir, 'key.pem'), weak.export({ type: 'spki', format: 'pem' }));
    await expect(loadTrust(dir)).rejects.toMatchObject(refused(ErrorCode.BadIdentity, /curve P-256/));
  });
});
