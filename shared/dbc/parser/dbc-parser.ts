import { readFile } from 'node:fs/promises';
import { readFault } from '../../host/read-fault.ts';
import type { Dbc } from '../dbc.ts';
import { DbcBuilder } from './dbc-builder.ts';
import { dbcError } from './dbc-lexer.ts';
import { readDbcStatements } from './dbc-reader.ts';

/**
 * Reads a DBC file. What is wrong in it costs the message, signal or comment that it is in, with a warning. Text that is
 * not UTF-8 is taken as Windows-1252, which is what most tools write.
 * @throws KerbError BadDbc when the file cannot be read, is empty, or has not one statement of a DBC file
 */
export async function loadDbc(path: string): Promise<Dbc> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw dbcError(path, 1, `the file cannot be read: ${readFault(error)}`, error);
  }
  return parseDbc(decodeText(bytes), path);
}

function decodeText(bytes: Buffer): string {
  // A byte order mark of UTF-16, as Windows writes it.
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/**
 * Reads the text of a DBC file.
 * @param file its name, for messages
 * @throws KerbError BadDbc when it is empty, or has not one statement of a DBC file
 */
export function parseDbc(source: string, file: string): Dbc {
  if (source.trim() === '') throw dbcError(file, 1, 'the file is empty; a DBC file has at least one message (BO_)');
  const statements = readDbcStatements(source, file);
  if (statements.count === 0) {
    const first = statements.problems[0];
    const why = first === undefined ? '' : `: line ${first.line}: ${first.what}`;
    throw dbcError(file, first?.line ?? 1, `this is not a DBC file, nothing in it can be read${why}`);
  }
  return new DbcBuilder(statements, file).build();
}
