import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { layerOf, nativeFiles, sourceFiles } from './source-graph.ts';

// The floor plan of the repository (docs/architecture.md) as a test: which folder may import which, and how large a
// file or a folder may be. What is above a limit today is listed in tools/house-debts.json, with its size; the list only
// shrinks: a larger file fails, and so does an entry that is no longer needed.

const top = join(import.meta.dirname, '..');
const layers: Record<string, readonly string[]> = readJson('layers.json').layers;
const pure: readonly string[] = readJson('layers.json').pure.folders;
const debts: { files: Record<string, number>; folders: Record<string, number> } = readJson('house-debts.json');
const MAX_LINES = 300;
const MAX_FILES = 15;

const files = sourceFiles(top);
const isTest = (path: string) => path.endsWith('.test.ts');
const production = files.filter(({ path }) => !isTest(path) && !path.includes('/generated/'));

function readJson(name: string) {
  return JSON.parse(readFileSync(join(import.meta.dirname, name), 'utf8'));
}

/** Why a file at `from` may not name `to`, or undefined when it may. */
function violation(from: string, to: string): string | undefined {
  const names = Object.keys(layers);
  const own = layerOf(from, names);
  const other = layerOf(to, names);
  if (own === undefined || other === undefined || other === own || other.startsWith(`${own}/`)) return;
  const allowed = layers[own] ?? [];
  if (allowed.some((folder) => to.startsWith(`${folder}/`))) return;
  return `${from} -> ${to}: ${own} may only use ${allowed.join(', ') || 'itself'}`;
}

describe('layers', () => {
  it('are kept by every import, types included', () => {
    const broken = production.flatMap(({ path, imports }) => imports.map((to) => violation(path, to)));
    expect(broken.filter((line) => line !== undefined)).toEqual([]);
  });

  it('are kept by paths in strings', () => {
    const broken = production.flatMap(({ path, paths }) => paths.map((to) => violation(path, to)));
    expect(broken.filter((line) => line !== undefined)).toEqual([]);
  });

  it('name every folder of the repository that has sources', () => {
    const names = Object.keys(layers);
    const homeless = files.map(({ path }) => path).filter((path) => path.includes('/') && !layerOf(path, names));
    expect(homeless).toEqual([]);
  });

  it('meet on the wire in tests, too: one that needs both an OBU and a broker is in test/', () => {
    const sides = [/^obu\//, /^broker\//];
    const both = files
      .filter(({ path }) => isTest(path) && sides.some((side) => side.test(path)))
      .flatMap(({ path, imports }) => imports.map((to) => [path, to] as const))
      .filter(([path, to]) => sides.some((side) => side.test(to) && !side.test(path)))
      .map(([path, to]) => `${path} -> ${to}`);
    expect(both).toEqual([]);
  });

  it('let deciders import values only', () => {
    const impure = production
      .filter(({ path }) => pure.some((folder) => path.startsWith(`${folder}/`)))
      .filter(({ text }) => /from 'node:|import\('node:/.test(text))
      .map(({ path }) => path);
    expect(impure).toEqual([]);
  });
});

describe('sizes', () => {
  it(`of source files, those in C too, stay within ${MAX_LINES} lines, or what tools/house-debts.json lists`, () => {
    const sized = [...production, ...nativeFiles(top)];
    const lines = Object.fromEntries(sized.map(({ path, text }) => [path, text.split('\n').length - 1]));
    expect(aboveLimit(lines, MAX_LINES, debts.files)).toEqual([]);
  });

  it(`of folders stay within ${MAX_FILES} source files, or what tools/house-debts.json lists`, () => {
    const counts: Record<string, number> = {};
    for (const { path } of production) counts[dirname(path)] = (counts[dirname(path)] ?? 0) + 1;
    expect(aboveLimit(counts, MAX_FILES, debts.folders)).toEqual([]);
  });
});

/** What is larger than it may be, and what is listed for no reason. */
function aboveLimit(sizes: Record<string, number>, limit: number, listed: Record<string, number>): string[] {
  const tooLarge = Object.entries(sizes)
    .filter(([name, size]) => size > (listed[name] ?? limit))
    .map(([name, size]) => `${name} has ${size}, allowed are ${listed[name] ?? limit}`);
  const stale = Object.entries(listed)
    .filter(([name, allowed]) => (sizes[name] ?? 0) < allowed)
    .map(([name, allowed]) => `${name} has ${sizes[name] ?? 0}, and house-debts.json still says ${allowed}: lower it`);
  return [...tooLarge, ...stale];
}

it('keeps helpers of tests in test/support', () => {
  const strays = production
    .filter(({ path }) => !/^(test|bench|tools)\//.test(path))
    .filter(({ path, text }) => /(^|\/)test-[^/]*$/.test(path) || /from 'vitest'|from 'fast-check'/.test(text))
    .map(({ path }) => path);
  expect(strays).toEqual([]);
});
