import { isUtf8 } from 'node:buffer';

const SHOWN_BYTES = 256;
/** All but tab and line feed: an output must not steer the terminal it is shown on. */
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

/** The output of a task for a terminal: as it is when it is plain text, else the first bytes as a hex dump. */
export function terminalSafe(output: Uint8Array): string {
  if (output.length === 0) return '';
  const bytes = Buffer.from(output.buffer, output.byteOffset, output.length);
  if (isUtf8(bytes)) {
    const text = bytes.toString('utf8');
    if (!CONTROL.test(text)) return text.endsWith('\n') ? text : `${text}\n`;
  }
  const lines: string[] = [];
  for (let at = 0; at < Math.min(bytes.length, SHOWN_BYTES); at += 16) {
    const part = bytes.subarray(at, Math.min(at + 16, SHOWN_BYTES));
    const hex = [...part].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const plain = part.toString('latin1').replace(/[^\x20-\x7e]/g, '.');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  ${plain}`);
  }
  if (bytes.length > SHOWN_BYTES) {
    lines.push(`… ${bytes.length - SHOWN_BYTES} more bytes; --output FILE or a pipe takes all of them`);
  }
  return `${lines.join('\n')}\n`;
}
