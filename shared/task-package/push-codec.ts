/** The messages of a push, in and out (shared/protocol/v2e.proto). */
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { refusalOf } from '../base/refusal.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { reasonOf } from '../protocol/refusal-reason.ts';
import { shownRefusal } from '../protocol/shown-refusal.ts';
import { INDEX_FILE, isDigest, LAYOUT_FILE } from './format.ts';

const { PushRequest, PushReply, PushState } = kerbside.v2e;

/** Bytes of one encoded PushRequest. */
export const MAX_PUSH_MESSAGE = 64 * 1024;
/** Bytes of `data` that fit into one for certain. */
export const PUSH_CHUNK = 48 * 1024;
/** What may be sent without an acknowledgement. */
export const MAX_UNACKNOWLEDGED = 16;
/** A package with as many architectures and signatures as it may have has fewer. */
const MAX_FILES = 128;

const BLOB = /^blobs\/sha256\/[0-9a-f]{64}$/;

/** True for a path that a file of a package may have; none of them leads out of its folder. */
export function isPackagePath(path: string): boolean {
  return path === LAYOUT_FILE || path === INDEX_FILE || BLOB.test(path);
}

export interface FileOffer {
  readonly path: string;
  readonly size: number;
}

export type PushStep =
  | { readonly step: 'open'; readonly digest: string; readonly files: readonly FileOffer[] }
  | { readonly step: 'data'; readonly data: Uint8Array }
  | { readonly step: 'remove'; readonly digest: string };

export type PushOutcome = keyof typeof PushState;

/** @throws KerbError BadPushRequest */
export function decodePush(bytes: Uint8Array): PushStep {
  let request: ReturnType<typeof PushRequest.decode>;
  try {
    request = PushRequest.decode(bytes);
  } catch (error) {
    throw badPush(`it is not a valid PushRequest: ${messageOf(error)}`);
  }
  const { open, data, remove } = request;
  if (data != null) return { step: 'data', data };
  if (remove != null) return { step: 'remove', digest: checkDigest(remove) };
  if (open == null) throw badPush('it holds no step');
  const files = (open.files ?? []).map(({ path, size }) => ({ path: path ?? '', size: size ?? 0 }));
  if (files.length < 1 || files.length > MAX_FILES) {
    throw badPush(`it has ${files.length} files; 1 to ${MAX_FILES} are needed`);
  }
  const paths = new Set<string>();
  for (const { path, size } of files) {
    // Nothing else can lead out of the directory that is made for it.
    if (!isPackagePath(path)) {
      throw badPush(`${quoted(path)} is not a file of a task package`);
    }
    if (paths.has(path)) throw badPush(`${path} is in it twice`);
    if (size === 0) throw badPush(`${path} is empty`);
    paths.add(path);
  }
  return { step: 'open', digest: checkDigest(open.digest ?? ''), files };
}

export function encodePushState(outcome: PushOutcome): Uint8Array {
  return PushReply.encode({ state: PushState[outcome] }).finish();
}

export function encodePushRefusal(error: KerbError): Uint8Array {
  const refusal = { ...shownRefusal(refusalOf(error)), reason: reasonOf(error.code) };
  return PushReply.encode({ refusal }).finish();
}

export function badPush(what: string): KerbError {
  return new KerbError(ErrorCode.BadPushRequest, `the push cannot be used: ${what}`);
}

function checkDigest(text: string): string {
  if (isDigest(text)) return text;
  throw badPush('its digest is not valid: it must be "sha256:" and 64 hexadecimal digits');
}
