import { isErrno, messageOf } from '../base/errors.ts';

const words: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'what is before the last "/" is not a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ELOOP: 'its links go in a circle',
  ENAMETOOLONG: 'its name is too long',
  EMFILE: 'too many files are open',
  EIO: 'the disk cannot read it',
};

/** Why a file that a person named cannot be read, as the end of a sentence: "no such file (ENOENT)". */
export function readFault(error: unknown): string {
  const word = isErrno(error) ? words[String(error.code)] : undefined;
  return word === undefined ? messageOf(error) : `${word} (${(error as NodeJS.ErrnoException).code})`;
}
