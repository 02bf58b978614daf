/** Reads the line of one signal of a DBC file, behind its SG_. */
import type { DbcCursor } from './dbc-cursor.ts';
import type { SignalStatement } from './dbc-statement.ts';

/** @throws KerbError BadDbc */
export function readSignalStatement(cursor: DbcCursor, line: number): SignalStatement {
  const name = cursor.word('the name of the signal');
  const mux = readMux(cursor, name);
  cursor.mark(':');
  const layout = readLayout(cursor, name);
  const unitToken = cursor.peek();
  const unit = cursor.text('the unit');
  const receivers: string[] = [];
  while (cursor.peek().line === unitToken.line && (cursor.peek().kind === 'word' || cursor.isMark(','))) {
    const token = cursor.take();
    if (token.kind === 'word') receivers.push(token.text);
  }
  return { line, name, mux, unit, receivers, ...layout };
}

function readMux(cursor: DbcCursor, name: string): string {
  if (cursor.peek().kind !== 'word') return '';
  const token = cursor.take();
  if (/^(M|m\d+M?)$/.test(token.text)) return token.text;
  throw cursor.fail(token, `signal ${name}: "${token.text}" is not a multiplexer mark (M, m0, m0M)`);
}

/** From the start bit to the range. */
function readLayout(cursor: DbcCursor, name: string) {
  const startBit = cursor.integer('the start bit');
  cursor.mark('|');
  const length = cursor.integer('the length in bits');
  cursor.mark('@');
  const order = cursor.take();
  // "1+" comes as one or two tokens: a number never swallows a sign that follows it.
  if (order.text !== '0' && order.text !== '1') {
    throw cursor.fail(order, `signal ${name}: the byte order is 0 (big-endian) or 1 (little-endian)`);
  }
  const sign = cursor.peek();
  if (sign.text !== '+' && sign.text !== '-') {
    throw cursor.fail(sign, `signal ${name}: after the byte order comes + (unsigned) or - (signed)`);
  }
  cursor.take();
  cursor.mark('(');
  const factor = cursor.number('the factor');
  cursor.mark(',');
  const offset = cursor.number('the offset');
  cursor.mark(')');
  cursor.mark('[');
  const min = cursor.number('the minimum');
  cursor.mark('|');
  const max = cursor.number('the maximum');
  cursor.mark(']');
  return {
    startBit,
    length,
    factor,
    offset,
    min,
    max,
    bigEndian: order.text === '0',
    signed: sign.text === '-',
  };
}
