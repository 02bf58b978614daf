import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../shared/base/errors.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { KEY_BYTES, keyId } from './seal.ts';

/** Says with which key what lies beside it was written. */
const MARKER = 'storage-key.json';
const MAX_KEYS = 16;
const MAX_FILE = 64 * 1024;
const HOW =
  'one key in each line, the one in use first: 32 random bytes in hex or base64, as `openssl rand -hex 32` writes them';

export interface StorageKeys {
  /** It is sealed with the first, and opened with each of them; none: nothing is encrypted. */
  readonly keys: readonly Buffer[];
  /** All that is kept is written with the first key by now. */
  used(): Promise<void>;
}

/**
 * The keys for what is kept in the state folder.
 * @param file undefined: there are none
 * @throws KerbError BadConfig: they cannot be used, or are not those that it was written with
 */
export function readStorageKeys(file: string | undefined, stateDir: string): StorageKeys {
  const marker = join(stateDir, MARKER);
  const before = idIn(marker);
  const keys = file === undefined ? [] : keysIn(file);
  const ids = keys.map(keyId);
  if (before !== undefined && file === undefined) {
    throw bad(
      `what is kept in ${stateDir} is encrypted with key ${before}; give the file of that key with --storage-key`,
    );
  }
  if (before !== undefined && !ids.includes(before)) {
    const message = `what is kept in ${stateDir} is encrypted with key ${before}, which is not in ${file} (${ids.join(', ')}); add a line with it behind the first`;
    throw bad(message);
  }
  const [current] = ids;
  return {
    keys,
    used: async () => {
      if (current === undefined || current === before) return;
      await writeFileAtomically(marker, `${JSON.stringify({ key: current })}\n`, { mode: 0o600 });
    },
  };
}

function idIn(marker: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(marker, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw bad(`${marker} cannot be read: ${readFault(error)}`);
  }
  try {
    const { key } = JSON.parse(text) as { key?: unknown };
    if (typeof key === 'string' && /^[0-9a-f]{16}$/.test(key)) return key;
  } catch {
    // Said below.
  }
  throw bad(
    `${marker} is not valid: it must be { "key": "ID" }; it says with which key the rest of the folder was written`,
  );
}

function keysIn(file: string): Buffer[] {
  const lines = textOf(file)
    .split('\n')
    .map((line) => line.trim());
  const keys: Buffer[] = [];
  for (const [i, line] of lines.entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const key = keyFrom(line);
    // The line itself is in no message.
    if (key === undefined) throw bad(`${file}, line ${i + 1}: it is not a valid key: the file must hold ${HOW}`);
    keys.push(key);
  }
  if (keys.length > 0 && keys.length <= MAX_KEYS) return keys;
  throw bad(`${file} holds ${keys.length} keys: it must hold 1 to ${MAX_KEYS}, ${HOW}`);
}

function textOf(file: string): string {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, 'r');
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw bad(`${file} is not a file; it must hold ${HOW}`);
    const mode = status.mode & 0o777;
    if ((mode & 0o077) !== 0) {
      const shown = mode.toString(8).padStart(3, '0');
      throw bad(
        `${file} can be read by others (mode ${shown}); do \`chmod 600 ${file}\`, and make a new key if others had it`,
      );
    }
    if (status.size > MAX_FILE) throw bad(`${file} has ${status.size} bytes; it must hold ${HOW}`);
    return readFileSync(descriptor, 'utf8');
  } catch (error) {
    if (error instanceof KerbError) throw error;
    throw bad(`the storage key ${file} cannot be read: ${readFault(error)}`, messageOf(error));
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function keyFrom(line: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(line)) return Buffer.from(line, 'hex');
  if (!/^[A-Za-z0-9+/]{43}=$/.test(line)) return undefined;
  const key = Buffer.from(line, 'base64');
  return key.length === KEY_BYTES ? key : undefined;
}

function bad(message: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadConfig, message, {}, { cause });
}
