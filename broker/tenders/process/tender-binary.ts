import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';

/**
 * Where the tender lies: `build/unikernel/kerb-tender` of this checkout, or what `KERB_TENDER` names.
 * @throws KerbError TenderUnavailable when there is nothing that can be run
 */
export function tenderBinary(): string {
  const path = process.env.KERB_TENDER ?? join(import.meta.dirname, '../../../build/unikernel/kerb-tender');
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw new KerbError(
      ErrorCode.TenderUnavailable,
      `the tender ${path} is missing or cannot be run: run npm run setup to build it`,
      { path },
      { cause },
    );
  }
  return path;
}
