import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordingFolder, type Retention } from './recording-folder.ts';

const T0 = Date.UTC(2026, 0, 2, 3, 4, 5);
const ENDLESS: Retention = { maxBytes: 1e9, maxAgeMs: 1e12, maxLockedBytes: 1e9 };

function box(type: string, bytes: number): Buffer {
  const made = Buffer.alloc(bytes, 7);
  made.writeUInt32BE(bytes, 0);
  made.write(type, 4, 'latin1');
  return made;
}
const HEAD = Buffer.concat([box('ftyp', 16), box('moov', 84)]);
const FRAGMENT = Buffer.concat([box('moof', 50), box('mdat', 850)]);

let root: string;
let open: RecordingFolder[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-rec-'));
  open = [];
});
afterEach(async () => {
  for (const folder of open) await folder.stop();
  rmSync(root, { recursive: true, force: true });
});

async function folderWith(retention: Partial<Retention> = {}): Promise<RecordingFolder> {
  const folder = new RecordingFolder(join(root, 'front'), { ...ENDLESS, ...retention });
  await folder.start();
  open.push(folder);
  return folder;
}
/** Files of 1000 bytes with one second of video each, beginning at these seconds. */
async function record(folder: RecordingFolder, ...seconds: number[]): Promise<void> {
  for (const second of seconds) {
    await folder.begin(HEAD, T0 + second * 1000);
    await folder.append(FRAGMENT, T0 + second * 1000 + 1000);
  }
}
const names = (locked = false) =>
  readdirSync(locked ? join(root, 'front/locked') : join(root, 'front'))
    .filter((name) => name !== 'locked')
    .sort();

describe('a folder of recordings', () => {
  it('has files that are named by their time, and whole after each second', async () => {
    const folder = await folderWith();
    await record(folder, 0);
    const file = join(root, 'front/2026-01-02T030405.000Z.mp4');
    expect(readFileSync(file)).toEqual(Buffer.concat([HEAD, FRAGMENT]));
    await folder.append(FRAGMENT, T0 + 2000);
    expect(statSync(file).size).toBe(1900);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(folder.segments).toEqual([
      { name: '2026-01-02T030405.000Z.mp4', locked: false, startMs: T0, endMs: T0 + 2000, bytes: 1900 },
    ]);
  });

  it('keeps what is within size and age, and never removes the file that is being written', async () => {
    const folder = await folderWith({ maxBytes: 2500, maxAgeMs: 10_000 });
    await record(folder, 0, 1, 2, 3);
    expect((await folder.clean(T0 + 4000)).map(({ startMs }) => startMs - T0)).toEqual([0, 1000]);
    expect(names()).toHaveLength(2);
    await folder.clean(T0 + 100_000);
    expect(names()).toEqual(['2026-01-02T030408.000Z.mp4']);
  });

  it('keeps what is locked, whatever its age, within a limit of its own', async () => {
    const folder = await folderWith({ maxBytes: 0, maxAgeMs: 0, maxLockedBytes: 2000 });
    await record(folder, 0, 10, 20, 30, 40);
    await folder.lock(T0 + 10_500, T0 + 30_200);
    expect(names(true)).toEqual([
      '2026-01-02T030415.000Z.mp4',
      '2026-01-02T030425.000Z.mp4',
      '2026-01-02T030435.000Z.mp4',
    ]);
    await folder.clean(T0 + 1e9);
    expect(names()).toEqual(['2026-01-02T030445.000Z.mp4']);
    expect(names(true)).toEqual(['2026-01-02T030425.000Z.mp4', '2026-01-02T030435.000Z.mp4']);
  });

  it('locks the file that is being written at once, and goes on writing it', async () => {
    const folder = await folderWith();
    await record(folder, 0);
    await folder.lock(T0, T0 + 500);
    await folder.append(FRAGMENT, T0 + 2000);
    expect(names()).toEqual([]);
    expect(statSync(join(root, 'front/locked/2026-01-02T030405.000Z.mp4')).size).toBe(1900);
    await folder.lock(T0, T0 + 500);
    expect(folder.segments.map(({ locked }) => locked)).toEqual([true]);
  });

  it('finds what an earlier run left, and cuts off what was half written', async () => {
    await record(await folderWith(), 0, 1);
    await open[0]!.lock(T0 + 1200, T0 + 1300);
    await open[0]!.stop();
    appendFileSync(join(root, 'front/locked/2026-01-02T030406.000Z.mp4'), FRAGMENT.subarray(0, 700));
    writeFileSync(join(root, 'front/2026-01-02T030407.000Z.mp4'), HEAD);
    writeFileSync(join(root, 'front/2026-01-02T030408.000Z.mp4'), 'no video at all');
    writeFileSync(join(root, 'front/notes.txt'), 'mine');
    const again = await folderWith();
    expect(again.segments.map(({ name, locked, bytes }) => [name, locked, bytes])).toEqual([
      ['2026-01-02T030405.000Z.mp4', false, 1000],
      ['2026-01-02T030406.000Z.mp4', true, 1000],
    ]);
    expect(statSync(join(root, 'front/locked/2026-01-02T030406.000Z.mp4')).size).toBe(1000);
    expect(names()).toEqual(['2026-01-02T030405.000Z.mp4', 'notes.txt']);
  });

  it('makes room by its oldest file that is not locked, and has none to give when all are', async () => {
    const folder = await folderWith();
    await record(folder, 0, 1, 2);
    await folder.lock(T0, T0);
    expect((await folder.removeOldest())?.startMs).toBe(T0 + 1000);
    expect(await folder.removeOldest()).toBeUndefined();
  });

  it('does not mind a file that a person took away, nor a clock that was set back', async () => {
    const folder = await folderWith({ maxBytes: 0 });
    await record(folder, 0, 0, 0);
    // Named a millisecond later each, so that none replaces another; as old as they are.
    expect(names().map((name) => name.slice(-9))).toEqual(['.000Z.mp4', '.001Z.mp4', '.002Z.mp4']);
    rmSync(join(root, 'front', folder.segments[0]!.name));
    expect(await folder.clean(T0)).toHaveLength(2);
  });

  it('makes nothing old or young by a clock that jumps by years, and keeps the order of recording', async () => {
    const folder = await folderWith({ maxAgeMs: 50_000 });
    const years = 30 * 365 * 86_400_000;
    for (const [second, jump] of [
      [0, 0],
      [30, -years],
      [60, years],
    ] as const) {
      const startMs = T0 + second * 1000;
      await folder.begin(HEAD, startMs, startMs + jump);
      await folder.append(FRAGMENT, startMs + 1000);
    }
    await record(folder, 90);
    expect((await folder.clean(T0 + 91_000)).map(({ startMs }) => startMs - T0)).toEqual([0, 30_000]);
    expect(names().map((name) => name.slice(0, 4))).toEqual(['2026', '2055']);
    await folder.lock(T0 + 59_000, T0 + 62_000);
    expect(names(true).map((name) => name.slice(0, 4))).toEqual(['2055']);
  });

  it('puts what earlier runs have stamped on the clock of this one', async () => {
    await record(await folderWith(), 0, 1);
    await open.pop()!.stop();
    const later = new RecordingFolder(join(root, 'front'), ENDLESS, (ms) => ms + 1_000_000);
    await later.start();
    open.push(later);
    expect(later.segments.map(({ startMs }) => startMs - T0)).toEqual([1_000_000, 1_001_000]);
  });

  it('leaves no file of a head alone', async () => {
    const folder = await folderWith();
    await folder.begin(HEAD, T0);
    await folder.stop();
    expect(names()).toEqual([]);
  });

  it('says what is wrong with a place where nothing can be kept', async () => {
    writeFileSync(join(root, 'file'), '');
    await expect(new RecordingFolder(join(root, 'file', 'x'), ENDLESS).start()).rejects.toThrow(/ENOTDIR/);
    expect(existsSync(join(root, 'file'))).toBe(true);
  });
});
