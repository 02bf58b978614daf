import { isUtf8 } from 'node:buffer';

/**
 * The text that bytes in UTF-8 stand for, without a byte order mark; else the first line (from 1) that is not UTF-8. Bytes
 * are never replaced: a name with a wrong letter is another name.
 */
export function decodeUtf8(bytes: Buffer): { readonly text: string } | { readonly line: number } {
  if (isUtf8(bytes)) return { text: new TextDecoder('utf-8').decode(bytes) };
  for (let line = 1, from = 0; ; line++) {
    const end = bytes.indexOf(0x0a, from);
    if (end === -1 || !isUtf8(bytes.subarray(from, end))) return { line };
    from = end + 1;
  }
}

/** What a person is told of a line that is not UTF-8. */
export function utf8Fault(file: string, line: number): string {
  return `${file}:${line}: this line is not text in UTF-8; save the file in UTF-8`;
}
