import { isErrno, messageOf } from '../base/errors.ts';

const words: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'a part of its path is not a directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'is a directory',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
  EMFILE: 'too many open files',
  EIO: 'input/output error',
};

/** Why a file that a person named cannot be read, as the end of a sentence: "no such file (ENOENT)". */
export function readFault(error: unknown): string {
  const word = isErrno(error) ? words[String(error.code)] : undefined;
  return word === undefined ? messageOf(error) : `${word} (${(error as NodeJS.ErrnoException).code})`;
}
