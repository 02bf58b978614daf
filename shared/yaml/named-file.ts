import { readFile, stat } from 'node:fs/promises';
import { type ErrorCode, isErrno, KerbError } from '../base/errors.ts';
import { readFault } from '../host/read-fault.ts';
import { decodeUtf8, utf8Fault } from '../text/utf8.ts';

/** Longest file of text that a person may name, in bytes: above this it is another file than was meant. */
const MAX_NAMED_FILE = 4 * 1024 * 1024;

/** The text of a file that a person named. @throws KerbError with this code when it cannot be read, or is not UTF-8 */
export async function readNamedFile(file: string, code: ErrorCode): Promise<string> {
  let bytes: Buffer;
  try {
    const { size } = await stat(file);
    if (size > MAX_NAMED_FILE) {
      throw new KerbError(code, `${file} has ${size} bytes; ${MAX_NAMED_FILE} are the limit`, { file });
    }
    bytes = await readFile(file);
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new KerbError(code, `${file} cannot be read: ${readFault(error)}`, { file });
  }
  const decoded = decodeUtf8(bytes);
  if ('text' in decoded) return decoded.text;
  throw new KerbError(code, utf8Fault(file, decoded.line), { file });
}
