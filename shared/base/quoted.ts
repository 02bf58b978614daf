/** Deletes, C1 controls, separators of lines, and what turns the direction of writing: JSON leaves them as they are. */
const UNSEEN = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/**
 * Text of a peer, for a message or a log line: in quotes, on one line, with everything that a terminal would not
 * show, or obey, as an escape of JSON. It reads back with JSON.parse.
 * @param most of its characters, in UTF-16 units; the rest is left out
 */
export function quoted(text: string, most = 100): string {
  return JSON.stringify(text.slice(0, most)).replace(
    UNSEEN,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
