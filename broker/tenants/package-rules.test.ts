import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { faultOf, nextExpiry, type PackageRules, type SignedPackage, unknownKeys } from './package-rules.ts';

const DAY = 86_400_000;
const signature = (signer: string, days = 10) => ({
  signer,
  keyId: signer.repeat(64).slice(0, 64),
  signedAt: new Date(0),
  expiresAt: new Date(days * DAY),
});
const pack = (...signatures: ReturnType<typeof signature>[]): SignedPackage => ({
  digest: 'sha256:1',
  name: 'acme-filter',
  version: '1',
  signatures,
});
const free: PackageRules = { signers: undefined, revoked: { keys: [], digests: [] } };
const code = (rules: Partial<PackageRules>, one: SignedPackage, tenant: string | undefined, now = 0) =>
  faultOf({ ...free, ...rules }, one, tenant, now)?.code;

describe('a package', () => {
  it('runs while a trusted signature is good, and expires at its moment', () => {
    expect(code({}, pack(signature('a')), 'ACME')).toBeUndefined();
    expect(code({}, pack(signature('a')), 'ACME', 10 * DAY - 1)).toBeUndefined();
    expect(code({}, pack(signature('a')), 'ACME', 10 * DAY)).toBe(ErrorCode.TaskSignatureExpired);
    expect(code({}, pack(signature('a'), signature('b', 20)), 'ACME', 10 * DAY)).toBeUndefined();
    expect(code({}, { ...pack(), signatures: undefined }, 'ACME', 10 * DAY)).toBeUndefined();
  });

  it('that is revoked runs for nobody, by its digest or by its only key', () => {
    const revoked = { keys: [], digests: ['sha256:1'] };
    expect(code({ revoked }, pack(signature('a')), undefined)).toBe(ErrorCode.TaskRevoked);
    expect(code({ revoked }, { ...pack(), signatures: undefined }, undefined)).toBe(ErrorCode.TaskRevoked);
    for (const key of ['a', 'a'.repeat(64)]) {
      const keys = { revoked: { keys: [key], digests: [] } };
      expect(code(keys, pack(signature('a')), 'ACME')).toBe(ErrorCode.TaskRevoked);
      expect(code(keys, pack(signature('a'), signature('b')), 'ACME')).toBeUndefined();
      expect(code(keys, pack(signature('a', 20), signature('b')), 'ACME', 15 * DAY)).toBe(
        ErrorCode.TaskSignatureExpired,
      );
    }
  });

  it('needs a key that may sign this task for this tenant', () => {
    const signers = [
      { key: 'a', tenants: ['ACME'], tasks: ['acme-*'] },
      { key: 'b'.repeat(64), tenants: ['*'], tasks: ['other'] },
    ];
    expect(code({ signers }, pack(signature('a')), 'ACME')).toBeUndefined();
    expect(code({ signers }, pack(signature('a')), 'Other')).toBe(ErrorCode.TaskSignerUnknown);
    expect(code({ signers }, pack(signature('a')), undefined)).toBeUndefined();
    expect(code({ signers }, pack(signature('b')), undefined)).toBe(ErrorCode.TaskSignerUnknown);
    expect(code({ signers }, pack(signature('c')), 'ACME')).toBe(ErrorCode.TaskSignerUnknown);
    expect(code({ signers: [] }, pack(signature('a')), undefined)).toBe(ErrorCode.TaskSignerUnknown);
    expect(code({ signers }, { ...pack(signature('b')), name: 'other' }, 'Any')).toBeUndefined();
    expect(code({ signers }, pack(signature('a', 1), signature('c')), 'ACME', 5 * DAY)).toBe(
      ErrorCode.TaskSignatureExpired,
    );
  });
});

it('the next expiry is the earliest that is still to come', () => {
  const packages = [pack(signature('a', 3), signature('b', 1)), { ...pack(), signatures: undefined }];
  expect(nextExpiry(packages, 0)).toBe(DAY);
  expect(nextExpiry(packages, DAY)).toBe(3 * DAY);
  expect(nextExpiry(packages, 3 * DAY)).toBe(Infinity);
});

it('keys that are not trusted are named', () => {
  const rules: PackageRules = {
    signers: [{ key: 'maker', tenants: [], tasks: [] }],
    revoked: { keys: ['makr', 'f'.repeat(64)], digests: [] },
  };
  expect(unknownKeys(rules, [{ keyId: 'f'.repeat(64), name: 'maker' }])).toEqual(['makr']);
});
