import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../broker/config.ts';
import { builtInTenant } from '../broker/tenants/built-in.ts';
import { parsePolicy } from '../broker/tenants/parse-policy.ts';
import { createProgram } from '../cli/program.ts';
import { parseObuConfig } from '../obu/config/config.ts';
import { parseManifest } from '../obu/manifest/manifest.ts';
import { LOG_KEYS } from '../shared/base/log.ts';
import { blocksOf, kerbLines, unknownPart } from './docs-examples.ts';
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

describe('examples', () => {
  it.each(handWritten)('in YAML of %s are taken by the parsers', (path) => {
    for (const block of blocksOf(read(path), ['yaml'])) {
      const text = block.replace('sha256:…', `sha256:${'0'.repeat(64)}`);
      if (/^services:/m.test(text)) expect(parseManifest(text, path)).toHaveLength(1);
      else if (/^(?:default|tenants|signers|revoked|others):/m.test(text)) {
        expect(parsePolicy(text, path, builtInTenant({ limits: DEFAULT_LIMITS })).classes.safety).toBe(0);
      } else
        expect(parseObuConfig(/^vehicle:/m.test(text) ? text : `vehicle: a\nobu: b\n${text}`, path).obu).toMatch(/./);
    }
  });

  it.each(handWritten)('of kerb in %s are verbs and options that there are', async (path) => {
    const program = await createProgram(undefined);
    const unknown = kerbLines(read(path)).map((line) => unknownPart(program, line));
    expect(unknown.filter((line) => line !== undefined)).toEqual([]);
  });

  it('that are wrong are found', async () => {
    const program = await createProgram(undefined);
    const text =
      '`kerb obu aply x` `kerb status --watsch`\n```\nkerb obu apply car.yaml --no-wait   # fine\nbin/kerb nothing\n```\n';
    const unknown = kerbLines(text).map((line) => unknownPart(program, line));
    expect(unknown).toEqual([undefined, 'nothing: nothing', 'obu aply x: aply', 'status --watsch: --watsch']);
  });
});

it('keeps README.md short', () => {
  expect(read('README.md').split('\n').length).toBeLessThanOrEqual(150);
});

it('lists every key of log lines in docs/guide/operations.md', () => {
  const text = read('docs/guide/operations.md');
  expect(LOG_KEYS.filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
});
