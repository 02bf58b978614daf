import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LOG_KEYS } from '../shared/base/log.ts';
import { brokenLinks, missingPaths } from './docs-links.ts';
import { referencePages } from './reference.ts';

const top = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(top, path), 'utf8');
const pages = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: top,
  encoding: 'utf8',
})
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(top, path)));
const handWritten = pages.filter((path) => !path.startsWith('docs/reference/'));

describe('docs/reference', () => {
  it('is what the code says: run npm run docs', async () => {
    const made = await referencePages();
    expect(made.size).toBeGreaterThan(8);
    const stale = [...made].filter(([name, text]) => read(`docs/reference/${name}`) !== text).map(([name]) => name);
    expect(stale).toEqual([]);
  });
});

describe('links', () => {
  it.each(pages)('of %s lead somewhere', (path) => {
    expect(brokenLinks(join(top, path), read(path))).toEqual([]);
  });

  it('that lead nowhere are found', () => {
    const text =
      '# A b-c\n[x](#a-b-c) [y](#nothing) [z](missing.md) [w](docs.ts) [v](https://example.org)\n`[u](missing.md)`';
    expect(brokenLinks(join(top, 'tools/x.md'), text)).toEqual(['#nothing', 'missing.md']);
  });
});

describe('files and folders', () => {
  it.each(handWritten)('that %s names are there', (path) => {
    expect(missingPaths(top, read(path))).toEqual([]);
  });

  it('that are not there are found', () => {
    const text = '`tools/docs.ts`, `tools/missing.ts`, `obu/missing/`, `shared/base/`, `obu/x.db` stays';
    expect(missingPaths(top, text)).toEqual(['tools/missing.ts', 'obu/missing/']);
  });

  it('have an index: docs/README.md links to every page of docs', () => {
    const index = read('docs/README.md');
    const missing = pages
      .filter((path) => path.startsWith('docs/') && path !== 'docs/README.md')
      .map((path) => relative('docs', path))
      .filter((path) => !index.includes(`(${path})`) && !index.includes(`(${dirname(path)}/README.md)`));
    expect(missing).toEqual([]);
  });
});

it('keeps README.md short', () => {
  expect(read('README.md').split('\n').length).toBeLessThanOrEqual(150);
});

it('lists every key of log lines in docs/guide/operations.md', () => {
  const text = read('docs/guide/operations.md');
  expect(LOG_KEYS.filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
});
