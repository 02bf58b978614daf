/**
 * `npm run docs` writes the pages of docs/reference that are made from the code; with `--check` it says which of them are
 * out of date and ends with 1.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { referencePages } from './reference.ts';

const folder = join(import.meta.dirname, '../docs/reference');
const isCheck = process.argv.includes('--check');

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

const stale: string[] = [];
for (const [name, text] of await referencePages()) {
  const file = join(folder, name);
  if (read(file) === text) continue;
  stale.push(`docs/reference/${name}`);
  if (isCheck) continue;
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, text);
}
if (stale.length > 0) console.log(`${isCheck ? 'out of date, run npm run docs' : 'written'}: ${stale.join(', ')}`);
process.exitCode = isCheck && stale.length > 0 ? 1 : 0;
