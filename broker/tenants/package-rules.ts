/** Decides whether the policy lets a package be run, and for which of the tenants that pushed it. Pure; times since 1970. */
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { TrustedSignature } from '../../shared/task-package/signature.ts';
import { matchesAny } from './name-pattern.ts';
import type { Policy } from './policy.ts';

/** A package that was read and whose signatures were verified. */
export interface SignedPackage {
  readonly digest: string;
  readonly name: string;
  readonly version: string;
  /** Those by trusted keys; undefined: this broker runs unsigned packages. */
  readonly signatures: readonly TrustedSignature[] | undefined;
}

export type PackageRules = Pick<Policy, 'signers' | 'revoked'>;

/**
 * Why the package is not run for this tenant; undefined: it is.
 * @param tenant that pushed it; undefined: the operator has put it there
 * @returns KerbError TaskRevoked | TaskSignerUnknown | TaskSignatureExpired
 */
export function faultOf(
  { signers, revoked }: PackageRules,
  { digest, name, version, signatures }: SignedPackage,
  tenant: string | undefined,
  now: number,
): KerbError | undefined {
  const refuse = (code: ErrorCode, sentence: string) =>
    new KerbError(code, `task ${name} ${version} ${sentence}`, { digest });
  if (revoked.digests.includes(digest)) {
    return refuse(ErrorCode.TaskRevoked, `(${digest}) is revoked by the policy of this broker; use another version`);
  }
  if (signatures === undefined) return undefined;
  const valid = signatures.filter((one) => !revoked.keys.some((key) => isKey(key, one)));
  if (valid.length === 0) {
    const keys = [...new Set(signatures.map(({ signer }) => signer))].join(', ');
    return refuse(ErrorCode.TaskRevoked, `is signed by ${keys} only, which the policy of this broker has revoked`);
  }
  const permitted = signers === undefined ? valid : valid.filter((one) => maySign(signers, one, tenant, name));
  if (permitted.length === 0) {
    const keys = valid.map(({ signer }) => signer).join(', ');
    const whom = tenant === undefined ? '' : ` for tenant ${tenant}`;
    return refuse(
      ErrorCode.TaskSignerUnknown,
      `is signed by ${keys}, which may not sign it${whom} by the policy of this broker`,
    );
  }
  if (permitted.some(({ expiresAt }) => expiresAt.getTime() > now)) return undefined;
  const last = permitted.reduce((a, b) => (a.expiresAt < b.expiresAt ? b : a));
  return refuse(
    ErrorCode.TaskSignatureExpired,
    `has a signature by ${last.signer} that expired at ${last.expiresAt.toISOString()}; have it signed again`,
  );
}

/** When the next signature of these expires after `now`; Infinity: none does. */
export function nextExpiry(packages: Iterable<SignedPackage>, now: number): number {
  let next = Number.POSITIVE_INFINITY;
  for (const { signatures } of packages) {
    for (const { expiresAt } of signatures ?? []) {
      const at = expiresAt.getTime();
      if (at > now && at < next) next = at;
    }
  }
  return next;
}

/** Keys of the policy that are not among the trusted ones: a typo, as a rule. */
export function unknownKeys({ signers, revoked }: PackageRules, trusted: Iterable<{ keyId: string; name: string }>) {
  const known = [...trusted].map(({ keyId, name }) => ({ keyId, signer: name }));
  const named = [...(signers ?? []).map(({ key }) => key), ...revoked.keys];
  return [...new Set(named)].filter((key) => !known.some((one) => isKey(key, one)));
}

function isKey(key: string, { keyId, signer }: Pick<TrustedSignature, 'keyId' | 'signer'>): boolean {
  return key === signer || key === keyId;
}

/** A package of the operator has no tenant: of its key only the names of tasks are asked. */
function maySign(
  signers: NonNullable<Policy['signers']>,
  signature: TrustedSignature,
  tenant: string | undefined,
  task: string,
): boolean {
  return signers.some(
    ({ key, tenants, tasks }) =>
      isKey(key, signature) && matchesAny(tasks, task) && (tenant === undefined || matchesAny(tenants, tenant)),
  );
}
