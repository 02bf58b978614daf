import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { SOURCE_FOLDERS } from './restarts.ts';
import { SourceWatch } from './source-watch.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-watch-'));
  for (const folder of SOURCE_FOLDERS) mkdirSync(join(root, folder, 'car'), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

it('restarts what runs a changed file, once for several changes, and nothing for a test', async () => {
  const restarts: string[][] = [];
  const said: string[] = [];
  const watch = new SourceWatch({
    root,
    restart: async (names) => void restarts.push([...names].sort()),
    say: (message) => said.push(message),
  });
  watch.start();
  try {
    writeFileSync(join(root, 'sim', 'car', 'vehicle.test.ts'), '');
    writeFileSync(join(root, 'sim', 'car', 'vehicle.ts'), '1');
    writeFileSync(join(root, 'sim', 'car', 'vehicle.ts'), '2');
    writeFileSync(join(root, 'obu', 'main.ts'), '');
    await vi.waitFor(() => expect(restarts).toEqual([['obu', 'sim-can']]), { timeout: 30_000 });
    await vi.waitFor(() => expect(said.at(-1)).toBe(''));
    expect(said[0]).toContain('sim/car/vehicle.ts');
  } finally {
    await watch.stop();
  }
  writeFileSync(join(root, 'obu', 'main.ts'), 'after the stop');
  expect(restarts).toHaveLength(1);
});
