import { ErrorCode, isKerbError, KerbError, messageOf } from '../../../shared/base/errors.ts';

/** What no second try can mend: the image itself is at fault. */
export function isFinal(error: KerbError): boolean {
  return (
    error.code === ErrorCode.ImageRefused ||
    error.code === ErrorCode.BadTaskPackage ||
    error.code === ErrorCode.TaskPackageDigestMismatch ||
    error.code === ErrorCode.WrongArchitecture ||
    error.code === ErrorCode.TaskTooLarge
  );
}

/** The tender got no processor: that is the machine's trouble, and says nothing about the package. */
export function isStarved(error: KerbError): boolean {
  return error.context.starved === true;
}

/** `waitMs`, also in its context: how long the quarantine lasts. */
export function quarantined(task: string, waitMs: number, cause: KerbError): KerbError {
  return new KerbError(
    ErrorCode.PackageQuarantined,
    `${task} is in quarantine for ${Math.round(waitMs / 1000)} s, because tender after tender was lost and none served a call; the last one: ${cause.message}`,
    { task, waitMs },
    { cause },
  );
}

export function asKerbError(cause: unknown, code: ErrorCode, what: string): KerbError {
  return isKerbError(cause) ? cause : new KerbError(code, `${what}: ${messageOf(cause)}`, {}, { cause });
}
