/** Reads the statements at the head of a DBC file, which end with their lines and not with a ";". */
import type { DbcCursor } from './dbc-cursor.ts';
import { keywords } from './dbc-keywords.ts';
import type { DbcToken } from './dbc-lexer.ts';

/** BU_: the names of the nodes. */
export function readNodes(cursor: DbcCursor, keyword: DbcToken): string[] {
  cursor.mark(':');
  const nodes: string[] = [];
  // A long list goes on in indented lines: names that are followed by nothing that makes them a statement.
  while (cursor.peek().kind === 'word') {
    const { text, line } = cursor.peek();
    if (line !== keyword.line && keywords.has(text)) break;
    nodes.push(cursor.take().text);
  }
  return nodes;
}

/** NS_: the list of words that the file may use, each alone on its line, although some are statements elsewhere. */
export function readNewSymbols(cursor: DbcCursor): void {
  cursor.mark(':');
  while (cursor.peek().kind === 'word') {
    const next = cursor.peekNext();
    if (next.kind !== 'end' && next.line === cursor.peek().line) return;
    cursor.take();
  }
}

/** BS_: the bit timing, which nobody uses. */
export function readRestOfLine(cursor: DbcCursor, keyword: DbcToken): void {
  cursor.mark(':');
  while (cursor.peek().kind !== 'end' && cursor.peek().line === keyword.line) cursor.take();
}
