import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { abortText } from '../../broker/tenders/process/fault-text.ts';
import type { TenderOutcome } from '../../broker/tenders/process/tender.ts';
import { isLong, rows } from '../support/rounds.ts';
import { fault, Tenders } from './support.ts';
import { guestImage } from './support-paths.ts';

const script = join(import.meta.dirname, '../../broker/unikernel/build-task.sh');
const tenders = new Tenders();
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-ts-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const yaml = (name: string, sizes = 'memory: 1 MiB, maxInput: 1 KiB, maxOutput: 64'): string =>
  `version: 1.0.0\ntypescript: { name: ${name}, ${sizes} }\n`;

async function build(
  name: string,
  files: Record<string, string>,
  folder = name,
): Promise<{ code: number; stderr: string; image: string }> {
  const dir = join(root, folder);
  mkdirSync(dir, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, file), text);
  const image = join(root, `${folder.replaceAll('/', '-')}.elf`);
  return await new Promise((resolve) => {
    execFile(script, [dir, image], (error, _stdout, coloured) => {
      // The test runner makes whatever it starts use colours in CI.
      const stderr = stripVTControlCharacters(coloured);
      resolve({ code: error === null ? 0 : Number(error.code), stderr, image });
    });
  });
}

/** Does what its first byte says. */
const probe = `
let kept: i32 = 7;
class Box { next: Box | null = null; bytes: StaticArray<u8> = new StaticArray<u8>(1000); }
function deeper(n: i32): i32 { return n == 0 ? 0 : deeper(n + 1) ^ (deeper(n + 3) * 3); }
function text(value: string): StaticArray<u8> {
  const bytes = new StaticArray<u8>(String.UTF8.byteLength(value));
  String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, changetype<usize>(bytes));
  return bytes;
}
export function task(input: StaticArray<u8>): StaticArray<u8> {
  const n: i32 = input[1];
  switch (input[0]) {
    case 0: return input;
    case 1: refuse(n);
    case 2: throw new Error('not today \\u00e9\\ud83d\\ude97');
    case 3: return text((10 / (n - n)).toString());
    case 4: return text(load<u8>(0x7fffffff).toString());
    case 5: unreachable();
    case 6: return text(deeper(1).toString());
    case 7: { let all: Box | null = null; for (;;) { const box = new Box(); box.next = all; all = box; } }
    case 8: return new StaticArray<u8>(65);
    case 9: { console.log('line \\u00e9 \\u20ac \\ud83d\\ude97 \\ud800!'); console.log('x'.repeat(1500)); return input; }
    case 10: return text((kept++).toString());
    case 11: return text((Date.now() > 1600000000000).toString());
    case 12: return text(Math.random().toString());
    case 13: for (;;) {}
    case 15: { let all = 0; for (let i = 0; i < 20000; i++) all += new StaticArray<u8>(1000).length; return text(all.toString()); }
    case 16: return text((i32.MIN_VALUE / (n - n - 1)).toString());
    case 17: { const f = deeper; const g = halved; return text(call_indirect<i32>(load<u32>(changetype<usize>(f)) * (1 - n) + load<u32>(changetype<usize>(g)) * n, <f64>n).toString()); }
    case 18: { console.log('before'); refuse(n, 'not \u00e9nough'); }
    default: return text(input[900].toString());
  }
}
// Of the type that case 17 calls by: without any, the compiler would know better than to call.
function halved(value: f64): i32 { return <i32>(value * 0.5); }
`;

describe('a task in TypeScript', () => {
  let image: string;
  beforeAll(async () => {
    const built = await build('probe', { 'probe.ts': probe, 'task.yaml': yaml('probe') });
    expect(built.stderr).toBe('');
    image = built.image;
  });
  const call = async (...input: number[]): Promise<TenderOutcome> => {
    const tender = await tenders.start(image);
    const outcome = await tender.call(Buffer.from(input), 2_000);
    expect(tender.state).toBe('Waiting');
    return outcome;
  };
  const said = async (...input: number[]): Promise<string> => {
    const outcome = await call(...input);
    if (outcome.outcome !== 'done' || outcome.status !== 0) throw new Error(JSON.stringify(outcome));
    return outcome.output.toString();
  };

  test('gets bytes and gives bytes', async () => {
    expect(await said(0, 1, 255, 128)).toBe(Buffer.from([0, 1, 255, 128]).toString());
  });

  test('refuses with a status of its own', async () => {
    expect(await call(1, 42)).toMatchObject({ outcome: 'done', status: 42 });
    expect(await call(1, 1)).toMatchObject({ outcome: 'done', status: 1, log: '' });
    expect(await call(18, 7)).toMatchObject({ outcome: 'done', status: 7, log: 'before\nnot énough\n' });
  });

  test('starts in a memory that no earlier call has touched', async () => {
    const tender = await tenders.start(image);
    for (let i = 0; i < 3; i++) {
      const outcome = await tender.call(Buffer.from([10, 0]), 2_000);
      expect(outcome.outcome === 'done' && outcome.output.toString()).toBe('7');
    }
  });

  test('logs, has a time and has randomness', async () => {
    const { log } = await call(9, 0);
    expect(log).toBe(`line é € 🚗 \ufffd!\n${'x'.repeat(1500)}\n`);
    expect(await said(11, 0)).toBe('true');
    const drawn = [await said(12, 0), await said(12, 0)];
    for (const text of drawn) {
      expect(Number(text)).toBeGreaterThanOrEqual(0);
      expect(Number(text)).toBeLessThan(1);
    }
    expect(drawn[0]).not.toBe(drawn[1]);
  });

  test.each([
    [2, 0xffff0016],
    [3, 0xffff0012],
    [4, 0xffff0010],
    [5, 0xffff0014],
    [7, 0xffff0014],
    [16, 0xffff0011],
    [17, 0xffff0015],
    [99, 0xffff0016],
  ])('trap or error %d aborts with a code of its own', async (which, code) => {
    expect(await call(which, 0)).toMatchObject({ outcome: 'aborted', code });
    expect(abortText(code)).not.toMatch(/aborted with code/);
  });

  test('so does a trap that only other compilers know', async () => {
    const tender = await tenders.start(guestImage('wasm-trap'));
    expect(await tender.call(Buffer.alloc(0), 2_000)).toMatchObject({ outcome: 'aborted', code: 0xffff0013 });
    expect(abortText(0xffff0013)).not.toMatch(/aborted with code/);
  });

  if (isLong) {
    test('a function with more parameters than the libOS has room for', async () => {
      const parameters = Array.from({ length: 33 }, (_, i) => `p${i}: i32`).join(', ');
      const many = `
      function many(${parameters}): i32 { return p0 + p32; }
      let chosen: i32 = 0;
      export function task(input: StaticArray<u8>): StaticArray<u8> {
        const f = many;
        chosen = call_indirect<i32>(load<u32>(changetype<usize>(f)), ${Array.from({ length: 33 }, (_, i) => i).join(', ')});
        return new StaticArray<u8>(chosen);
      }`;
      const built = await build('many', { 'many.ts': many, 'task.yaml': yaml('many') });
      expect(built.stderr).toBe('');
      const tender = await tenders.start(built.image);
      // Up to 1.0.32 wasm2c names a function's type by a list that the libOS keeps; later by a hash, which has room for all.
      const lists = spawnSync('wasm2c', ['--version'], { encoding: 'utf8' }).stdout.trim() === '1.0.32';
      const outcome = await tender.call(Buffer.alloc(1), 2_000);
      if (lists) expect(outcome).toMatchObject({ outcome: 'aborted', code: 0xffff0018 });
      else expect(outcome).toMatchObject({ outcome: 'done', status: 0, output: Buffer.alloc(32) });
      expect(abortText(0xffff0018)).not.toMatch(/aborted with code/);
    });
  }

  test('an error is logged with its file and line', async () => {
    expect(await call(2, 0)).toMatchObject({ log: 'not today é🚗 (probe.ts:15:13)\n' });
    expect((await call(99, 0)).log).toMatch(/^Index out of range \(~lib\/staticarray\.ts:\d+:\d+\)\n$/);
  });

  test('endless recursion is a stack overflow, an endless loop a missed budget, too much output is refused', async () => {
    expect(fault(await call(6, 0))).toMatch(/^SIGSEGV: stack overflow/);
    expect(await (await tenders.start(image)).call(Buffer.from([13, 0]), 50)).toMatchObject({ outcome: 'deadline' });
    expect(await call(8, 0)).toMatchObject({
      outcome: 'bad-output',
      reason: 'claims 65 bytes of output, 64 are declared',
    });
  });

  test('what is not used any more is collected: 20 MB of it fit into 1 MiB', async () => {
    expect(await said(15, 0)).toBe('20000000');
  });

  if (isLong) {
    describe('more memory is there when the manifest says so', () => {
      const grow = `
      export function task(input: StaticArray<u8>): StaticArray<u8> {
        const all: StaticArray<u8>[] = [];
        for (let i = 0; i < 24; i++) all.push(new StaticArray<u8>(1 << 20));
        return new StaticArray<u8>(all.length);
      }`;
      const grown = [
        ['grow-large', '32 MiB', { outcome: 'done', status: 0 }],
        ['grow-small', '16 MiB', { outcome: 'aborted', code: 0xffff0014 }],
        ['grow-none', '320 KiB', { outcome: 'aborted', code: 0xffff0017 }], // 256 KiB of it are the stack
      ] as const;
      test.each(grown)('%s: %s', async (folder, memory, expected) => {
        const sizes = `memory: ${memory}, maxInput: 16, maxOutput: 64`;
        const built = await build('grow', { 'grow.ts': grow, 'task.yaml': yaml('grow', sizes) }, folder);
        expect(built.stderr).toBe('');
        expect(await (await tenders.start(built.image)).call(Buffer.alloc(1), 5_000)).toMatchObject(expected);
      });
    });

    test('the same sources give the same image, wherever they lie', async () => {
      const again = await build('probe', { 'probe.ts': probe, 'task.yaml': yaml('probe') }, 'elsewhere/deep');
      expect(readFileSync(again.image).equals(readFileSync(image))).toBe(true);
    });
  }
});

describe('building TypeScript', () => {
  const echo = 'export function task(input: StaticArray<u8>): StaticArray<u8> { return input; }\n';

  test('passes on what the compiler says, with file and line', async () => {
    const source = `\n\nexport function task(input: StaticArray<u8>): StaticArray<u8> {\n  return nothing;\n}\n`;
    const { code, stderr } = await build('wrong', { 'wrong.ts': source, 'task.yaml': yaml('wrong') });
    expect(code).toBe(65);
    expect(stderr).toMatch(/ERROR TS2304: Cannot find name 'nothing'[\s\S]*in wrong\.ts\(4,10\)/);
    expect(stderr).not.toMatch(/at async|node:internal/);
  });

  const bad = rows<[string, Record<string, string>, number, RegExp]>(1, [
    ['no name and sizes', { 'a.ts': echo, 'task.yaml': 'version: 1' }, 78, /typescript: is missing/],
    ['no task.yaml', { 'a.ts': echo }, 78, /task\.yaml: cannot be read/],
    [
      'a size that is none',
      { 'a.ts': echo, 'task.yaml': yaml('a', 'memory: lots') },
      78,
      /typescript\.memory: is not a valid size/,
    ],
    ['no file of its name', { 'b.ts': echo, 'task.yaml': yaml('a') }, 66, /a\.ts is missing/],
    [
      'a host function that is none',
      {
        'a.ts': `@external("env", "open") declare function open(): i32;\n${echo.replace('return', 'open(); return')}`,
        'task.yaml': yaml('a'),
      },
      65,
      /uses env\.open, which a unikernel has not/,
    ],
    [
      'a function that is no task',
      { 'a.ts': 'export function task(): void {}', 'task.yaml': yaml('a') },
      65,
      /ERROR TS2554: Expected 0 arguments/,
    ],
  ]);
  test.each(bad)('refuses %s', async (what, files, code, message) => {
    const result = await build('a', files, `bad/${what.replaceAll(' ', '-')}`);
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(code);
  });
});
