import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { tenderBinary } from '../../broker/tenders/process/tender-binary.ts';
import { rounds } from '../support/rounds.ts';
import { answer, built, fault, forEachIsolation, guestImage, Tenders } from './support.ts';

const tenders = new Tenders();
const folder = mkdtempSync(join(tmpdir(), 'kerb-images-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Small images, each of one shape; what `found-` names are made of is in broker/unikernel/README.md. */
const corpus = join(import.meta.dirname, 'corpus-x86_64');

function realImages(guests: readonly string[]): string {
  const real = join(folder, 'real');
  mkdirSync(real);
  for (const guest of guests) copyFileSync(guestImage(guest), join(real, guest));
  return real;
}

const good = readFileSync(guestImage('tls'));
const PHDR = 56;
const headerAt = (index: number): number => Number(good.readBigUInt64LE(32)) + index * PHDR;
const headers = Array.from({ length: good.readUInt16LE(56) }, (_, index) => good.readUInt32LE(headerAt(index)));
const headerOfType = (type: number, nth = 0): number =>
  headerAt(headers.flatMap((found, index) => (found === type ? [index] : []))[nth]!);

const LOAD = 1;
const NOTE = 4;
const TLS = 7;
const STACK = 0x6474e551;
const [text, rodata, data] = [headerOfType(LOAD, 0), headerOfType(LOAD, 1), headerOfType(LOAD, 2)];
const notes = Number(good.readBigUInt64LE(headerOfType(NOTE) + 8));
/** The ABI note is 32 bytes (three words, padded owner, two words), the manifest note follows. */
const manifest = notes + 32 + 24;

interface Verdict {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function check(image: Uint8Array): Verdict {
  const path = join(folder, 'image');
  writeFileSync(path, image);
  return spawnSync(tenderBinary(), ['--check', path], { encoding: 'utf8' });
}

function changed(change: (image: Buffer) => void): Buffer {
  const image = Buffer.from(good);
  change(image);
  return image;
}

const u64 = (at: number, value: bigint) => (image: Buffer) => void image.writeBigUInt64LE(value, at);
const u32 = (at: number, value: number) => (image: Buffer) => void image.writeUInt32LE(value, at);
const u16 = (at: number, value: number) => (image: Buffer) => void image.writeUInt16LE(value, at);
const u8 = (at: number, value: number) => (image: Buffer) => void image.writeUInt8(value, at);
const both =
  (...changes: ((image: Buffer) => void)[]) =>
  (image: Buffer) => {
    for (const change of changes) change(image);
  };

// Offsets in a program header: type 0, flags 4, offset 8, vaddr 16, filesz 32, memsz 40, align 48.
const refusals: [string, RegExp, (image: Buffer) => void][] = [
  ['another magic', /not an ELF file/, u8(0, 0)],
  ['32-bit class', /64-bit/, u8(4, 1)],
  ['big-endian', /little-endian/, u8(5, 2)],
  ['unknown ident version', /unknown ELF version/, u8(6, 2)],
  ['unknown version', /unknown ELF version/, u32(20, 2)],
  ['another OS', /operating system/, u8(7, 9)],
  ['relocatable type', /ELF type 1/, u16(16, 1)],
  ['position-independent type', /ELF type 3/, u16(16, 3)],
  ['core type', /ELF type 4/, u16(16, 4)],
  ['wrong machine', /another machine \(183\)/, u16(18, 183)],
  ['odd ELF header size', /ELF header of 63/, u16(52, 63)],
  ['odd program header size', /program headers of 57/, u16(54, 57)],
  ['no program headers', /0 program headers/, u16(56, 0)],
  ['too many program headers', /33 program headers/, u16(56, 33)],
  ['65,535 program headers', /65535 program headers/, u16(56, 65535)],
  ['program headers outside the file', /outside the file/, u64(32, BigInt(good.length))],
  ['program headers that wrap', /outside the file/, u64(32, 2n ** 64n - 56n)],
  ['an interpreter', /interpreter/, u32(headerOfType(STACK), 3)],
  ['dynamic linking', /dynamically linked/, u32(headerOfType(STACK), 2)],
  ['an executable stack', /executable stack/, u32(headerOfType(STACK) + 4, 7)],
  ['a segment both writable and executable', /both writable and executable/, u32(text + 4, 7)],
  ['data made executable', /both writable and executable/, u32(data + 4, 7)],
  ['an unreadable segment', /not readable/, u32(text + 4, 1)],
  ['unknown segment flags', /unknown flags/, u32(text + 4, 0x80000005)],
  ['an empty segment', /empty/, both(u64(rodata + 32, 0n), u64(rodata + 40, 0n))],
  ['more in the file than in memory', /larger in the file/, u64(text + 40, 1n)],
  ['file contents outside the file', /outside the file/, u64(text + 8, BigInt(good.length) & ~0xfffn)],
  ['file contents that wrap', /outside the file/, u64(text + 8, 2n ** 64n - 4096n)],
  ['an alignment of three', /not a power of two/, u64(text + 48, 3n)],
  ['a misaligned segment', /not aligned/, u64(text + 16, 0x100010n)],
  ['text in the zero page', /below 0x100000/, u64(text + 16, 0n)],
  ['text below 1 MiB', /below 0x100000/, u64(text + 16, 0xff000n)],
  ['a segment that leaves memory', /leaves the guest/, both(u64(data + 16, 0x1ffff000n), u64(data + 40, 0x1001n))],
  ['a heap that leaves memory', /image and heap do not fit/, u64(data + 16, 0x1ffff000n)],
  ['a segment over the stack', /leaves the guest/, u64(data + 16, 0x20000000n)],
  ['a segment in the kernel', /leaves the guest/, u64(data + 16, 0xffff800000000000n)],
  ['a segment that wraps', /leaves the guest/, u64(data + 16, 2n ** 64n - 4096n)],
  ['a size that wraps', /leaves the guest/, u64(data + 40, 2n ** 64n - 1n)],
  ['a size above all memory', /leaves the guest/, u64(data + 40, 2n ** 40n)],
  ['overlapping segments', /shares a page/, u64(rodata + 16, 0x100000n)],
  ['descending segments', /descends/, u64(text + 16, 0x180000n)],
  ['an entry point in rodata', /outside the text/, u64(24, good.readBigUInt64LE(rodata + 16))],
  ['an entry point in data', /outside the text/, u64(24, good.readBigUInt64LE(data + 16))],
  ['an entry point of zero', /outside the text/, u64(24, 0n)],
  [
    'an entry point just behind the text',
    /outside the text/,
    u64(24, good.readBigUInt64LE(text + 16) + good.readBigUInt64LE(text + 32)),
  ],
  ['an entry point in the kernel', /outside the text/, u64(24, 2n ** 64n - 1n)],
  ['no text', /outside the text/, u32(text + 4, 4)],
  ['no segment at all', /no segment/, both(u32(text, 6), u32(rodata, 6), u32(data, 6))],
  ['two TLS segments', /two TLS/, u32(headerOfType(STACK), TLS)],
  ['a TLS alignment of three', /TLS alignment/, u64(headerOfType(TLS) + 48, 3n)],
  ['a TLS alignment above a page', /TLS alignment/, u64(headerOfType(TLS) + 48, 8192n)],
  ['a TLS size above 1 MiB', /TLS segment is larger/, u64(headerOfType(TLS) + 40, 0x100001n)],
  ['a TLS size that wraps', /TLS segment is larger/, u64(headerOfType(TLS) + 40, 2n ** 64n - 1n)],
  ['more TLS in the file than in memory', /TLS segment is larger in the file/, u64(headerOfType(TLS) + 32, 2n ** 32n)],
  ['no notes', /no ABI note/, u32(headerOfType(NOTE), 6)],
  ['notes outside the file', /note segment/, u64(headerOfType(NOTE) + 8, 2n ** 64n - 16n)],
  ['a huge note segment', /note segment/, u64(headerOfType(NOTE) + 32, 2n ** 63n)],
  ['a cut-off note header', /note is cut off/, u64(headerOfType(NOTE) + 32, 40n)],
  ['no manifest note', /no manifest note/, u64(headerOfType(NOTE) + 32, 32n)],
  ['an owner that leaves the notes', /note is cut off/, u32(notes, 0xffffffff)],
  ['a descriptor that leaves the notes', /note is cut off/, u32(notes + 4, 0xfffffffe)],
  ['an ABI note of another size', /ABI note of 7 bytes/, u32(notes + 4, 7)],
  ['a foreign owner', /no ABI note/, u8(notes + 12, 0x6b)],
  ['another target', /another target/, u32(notes + 24, 2)],
  ['another ABI version', /ABI version 2, this tender has 1/, u32(notes + 28, 2)],
  ['an unknown note', /unknown Kerbside note of type 3/, u32(notes + 8, 3)],
  ['two manifest notes', /manifest note of 8 bytes/, u32(notes + 8, 2)],
  ['two ABI notes', /two ABI notes/, u32(notes + 32 + 8, 1)],
  ['too much memory', /memory in the manifest note is larger/, u64(manifest, 0x10000001n)],
  ['memory that wraps', /memory in the manifest note is larger/, u64(manifest, 2n ** 64n - 1n)],
  ['too little memory', /data, TLS and stack alone take/, u64(manifest, 0x40000n)],
  ['an input that is too large', /largest input/, u64(manifest + 8, 0x4000001n)],
  ['an output that is too large', /largest output/, u64(manifest + 16, 2n ** 63n)],
  ['an empty name', /name .* is empty/, u8(manifest + 24, 0)],
  ['a name with a slash', /name .* other characters/, u8(manifest + 25, 0x2f)],
  ['a name without an end', /name .* not closed/, (image) => image.fill(0x61, manifest + 24, manifest + 88)],
  ['something behind the name', /name .* not filled up/, u8(manifest + 87, 1)],
];

describe('the loader', () => {
  test('takes the image that all of these are made from', () => {
    const verdict = check(good);
    expect(verdict.stderr).toBe('');
    expect(JSON.parse(verdict.stdout)).toMatchObject({ name: 'tls', memory: 1 << 20, maxInput: 4096, maxOutput: 4096 });
  });

  test.each(refusals)('refuses %s', (_what, reason, change) => {
    const verdict = check(changed(change));
    expect(verdict.stderr).toMatch(reason);
    expect(verdict).toMatchObject({ status: 2, stdout: '' });
  });

  test('refuses what is no file', () => {
    for (const path of ['/nonexistent', '/dev/zero', '/dev/null', folder]) {
      const verdict = spawnSync(tenderBinary(), ['--check', path], { encoding: 'utf8' });
      expect(verdict.status, path).toBe(2);
    }
  });

  test('survives a cut anywhere in the headers and the notes', () => {
    const step = rounds(13, 1);
    const ends = new Set([headerAt(headers.length), manifest + 88]);
    for (let size = 0; size <= headerAt(headers.length); size += step) ends.add(size);
    for (let size = notes; size <= manifest + 88; size += step) ends.add(size);
    for (const size of ends) {
      const verdict = check(good.subarray(0, size));
      expect(verdict.signal, `cut at ${size}`).toBe(null);
      expect(verdict.status, `cut at ${size}: ${verdict.stderr}`).toBe(2);
    }
  });

  test('knows every shape of the corpus', () => {
    for (const name of readdirSync(corpus)) {
      const { status, signal } = spawnSync(tenderBinary(), ['--check', join(corpus, name)]);
      expect(signal, name).toBe(null);
      if (!name.startsWith('found-')) expect(status, name).toBe(name.startsWith('accepted-') ? 0 : 2);
    }
  });

  // Built with AddressSanitizer and UndefinedBehaviorSanitizer; aborts when a mutant is accepted that must not be.
  test.each([
    ['the corpus', corpus, rounds(8_000, 500_000)],
    ['real images', realImages(['tls', 'hello', 'leak']), rounds(1_500, 100_000)],
  ])('survives mutations of %s', (_what, from, count) => {
    const seed = process.env.KERB_TEST_SEED ?? '20260101';
    const fuzz = spawnSync(built('fuzz-image'), [from, seed, String(count), folder], { encoding: 'utf8' });
    expect(fuzz.status, fuzz.stderr).toBe(0);
    const counts = JSON.parse(fuzz.stdout) as { accepted: number; refused: number; edges: number };
    expect(counts.accepted).toBeGreaterThan(count / 100);
    expect(counts.refused).toBeGreaterThan(count / 100);
    // The driver sees what it does: nearly all of the blocks that the long runs have found.
    expect(counts.edges).toBeGreaterThan(200);
  });
});

await forEachIsolation((isolated) => {
  test('what the corpus has of good images loads and runs', async () => {
    for (const name of readdirSync(corpus).filter((file) => file.startsWith('accepted-'))) {
      const tender = await isolated.start(join(corpus, name));
      // Their text is one instruction that is none.
      expect(fault(await tender.call(Buffer.alloc(0), 1_000)), name).toMatch(/^SIGILL/);
      await tender.stop();
    }
  });
});

describe('a tender', () => {
  test('reports the refusal and ends', async () => {
    const path = join(folder, 'refused');
    writeFileSync(path, changed(u32(text + 4, 7)));
    const tender = tenders.make(path);
    await expect(tender.start()).rejects.toMatchObject({
      code: 8001,
      message: expect.stringContaining('segment 0 is both writable and executable'),
    });
    await tender.stop();
    expect(tender.state).not.toBe('Waiting');
  });

  test('reports a missing image', async () => {
    await expect(tenders.make(join(folder, 'missing')).start()).rejects.toMatchObject({
      code: 8001,
      message: expect.stringContaining('cannot be opened: no such file'),
    });
  });

  test('does not care what becomes of the file once it has started', async () => {
    const path = join(folder, 'replaced');
    writeFileSync(path, readFileSync(guestImage('hello')));
    const tender = await tenders.start(path);
    writeFileSync(path, Buffer.alloc(100_000, 0xcc));
    expect(answer(await tender.call(Buffer.from('again'), 1000))).toBe('hello, again');
  });

  test('outlives guests whose text is garbage', async () => {
    const textOffset = Number(good.readBigUInt64LE(text + 8));
    const textSize = Number(good.readBigUInt64LE(text + 32));
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 8;
    };
    const ends = new Set<string>();
    for (let round = 0; round < rounds(15, 40); round++) {
      const path = join(folder, `garbage-${round}`);
      const image = changed((bytes) => {
        for (let i = 0; i < 1 + textSize / 16; i++) bytes[textOffset + (random() % textSize)] = random() & 255;
      });
      writeFileSync(path, image);
      const tender = await tenders.start(path);
      for (let call = 0; call < 3; call++) ends.add((await tender.call(Buffer.alloc(64), 20)).outcome);
      expect(tender.state).toBe('Waiting');
      await tender.stop();
    }
    expect(ends).toContain('fault');
  });
});
