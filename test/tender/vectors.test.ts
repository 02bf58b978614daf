/**
 * The vector state that the gate of isolation `process` resets, on processors of all kinds: the pure computation with CPUID
 * tables, the processor at hand, and a tender that believes in a larger one than there is.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { answer, built, fault, guestImage, Tenders, u64 } from './support.ts';

const OSXSAVE = 1 << 27;
const SUPERVISOR = 1;
const ON_DEMAND = 4;
const ALIGNED = 2;

interface Component {
  readonly size: number;
  readonly offset: number;
  readonly flags?: number;
}

interface Processor {
  readonly xcr0: bigint;
  readonly xsave?: boolean;
  readonly components?: Record<number, Component>;
  /** CPUID leaf 0DH, index 0, EBX. */
  readonly current?: number;
}

// Sizes and offsets as the processors report them: Intel SDM volume 1, 13.5; AMD64 APM volume 2, 11.5 and 18.
const avx = { 2: { size: 256, offset: 576 } };
const mpx = { 3: { size: 64, offset: 960 }, 4: { size: 64, offset: 1024 } };
const avx512 = { 5: { size: 64, offset: 1088 }, 6: { size: 512, offset: 1152 }, 7: { size: 1024, offset: 1664 } };
const pkru = { 9: { size: 8, offset: 2688 } };
const amx = {
  17: { size: 64, offset: 2752, flags: ALIGNED },
  18: { size: 8192, offset: 2816, flags: ALIGNED | ON_DEMAND },
};
const apx = { 19: { size: 128, offset: 960 } };

function vectorsOf({ xcr0, xsave = true, components = {}, current = 0 }: Processor): { mask: bigint; size: number } {
  const hex = (value: number | bigint): string => value.toString(16);
  const lines = [
    hex(xcr0),
    `1 0 0 0 ${hex(xsave ? OSXSAVE : 0)}`,
    `d 0 ${hex(xcr0 & 0xffffffffn)} ${hex(current)} 0`,
    ...Object.entries(components).map(
      ([index, { size, offset, flags = 0 }]) => `d ${hex(Number(index))} ${hex(size)} ${hex(offset)} ${hex(flags)}`,
    ),
  ];
  const { stdout, status } = spawnSync(built('vectors-of'), { input: `${lines.join('\n')}\n`, encoding: 'utf8' });
  expect(status).toBe(0);
  const [mask = '', size = ''] = stdout.trim().split(' ');
  return { mask: BigInt(`0x${mask}`), size: Number(size) };
}

describe.skipIf(process.arch !== 'x64')('the area of the gate', () => {
  test.each<[string, Processor, bigint, number]>([
    ['no XSAVE at all', { xcr0: 0n, xsave: false }, 0n, 512],
    ['XSAVE that the system does not use', { xcr0: 7n, xsave: false }, 0n, 512],
    ['x87 and SSE', { xcr0: 3n }, 3n, 576],
    ['AVX2', { xcr0: 7n, components: avx }, 7n, 832],
    ['AVX2 and MPX', { xcr0: 0x1fn, components: { ...avx, ...mpx } }, 0x1fn, 1088],
    ['AVX-512', { xcr0: 0xe7n, components: { ...avx, ...avx512 } }, 0xe7n, 2688],
    ['AVX-512 and PKRU', { xcr0: 0x2e7n, components: { ...avx, ...avx512, ...pkru } }, 0x2e7n, 2696],
    [
      'AVX-512 as AMD lays it out',
      {
        xcr0: 0x2e7n,
        components: {
          ...avx,
          5: { size: 64, offset: 832 },
          6: { size: 512, offset: 896 },
          7: { size: 1024, offset: 1408 },
          9: { size: 8, offset: 2432 },
        },
      },
      0x2e7n,
      2440,
    ],
    [
      'AMD with lightweight profiling',
      { xcr0: (1n << 62n) | 7n, components: { ...avx, 62: { size: 128, offset: 832 } } },
      (1n << 62n) | 7n,
      960,
    ],
    // 11,008 bytes in all; the tiles are on demand, what configures them is not.
    ['AMX', { xcr0: 0x602e7n, components: { ...avx, ...avx512, ...pkru, ...amx } }, 0x202e7n, 2816],
    ['AMX and APX', { xcr0: 0xe02e7n, components: { ...avx, ...avx512, ...pkru, ...amx, ...apx } }, 0xa02e7n, 2816],
    // Of the future: a large component on demand stays off, one that is always there is reset, whatever its size.
    [
      'a component on demand of 64 KiB',
      { xcr0: (1n << 40n) | 7n, components: { ...avx, 40: { size: 65_536, offset: 12_288, flags: ON_DEMAND } } },
      7n,
      832,
    ],
    [
      'a component of 64 KiB that is always there',
      { xcr0: (1n << 40n) | 7n, components: { ...avx, 40: { size: 65_536, offset: 12_288 } } },
      (1n << 40n) | 7n,
      77_824,
    ],
    [
      'a supervisor component where none can be',
      { xcr0: 0x107n, components: { ...avx, 8: { size: 128, offset: 0, flags: SUPERVISOR } } },
      7n,
      832,
    ],
    ['a component that says nothing of itself', { xcr0: 0x27n, components: avx, current: 1216 }, 0x27n, 1216],
  ])('with %s', (_what, processor, mask, size) => {
    expect(vectorsOf(processor)).toEqual({ mask, size });
  });

  test('is enough for XRSTOR on the processor at hand, and resets all that is not on demand', () => {
    const { stdout, status } = spawnSync(built('vectors-of'), ['--here'], { encoding: 'utf8' });
    expect(status).toBe(0);
    const [first = '', ended] = stdout.trim().split('\n');
    const [xcr0, mask, size] = first.split(' ');
    expect(ended).toBe('0');
    expect(Number(size)).toBeGreaterThanOrEqual(512);
    // Which of them are on demand only the processor knows; x87, SSE, AVX and AVX-512 never are.
    const always = BigInt(`0x${xcr0}`) & 0xe7n;
    expect(BigInt(`0x${mask}`) & 0xe7n).toBe(always);
    expect(BigInt(`0x${mask}`) & ~BigInt(`0x${xcr0}`)).toBe(0n);
  });
});

/** Sizes in bytes of the mappings that start at these guest addresses, in the process that waits for a call. */
function mappedAt(pid: number, starts: readonly number[]): (number | undefined)[] {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  const maps = readFileSync(`/proc/${child}/maps`, 'latin1');
  return starts.map((start) => {
    const end = new RegExp(`^0*${start.toString(16)}-([0-9a-f]+) `, 'm').exec(maps)?.[1];
    return end === undefined ? undefined : Number.parseInt(end, 16) - start;
  });
}

const FAULT_STACK = 0x3f100000;
const VECTORS = 0x3f200000;
const WIDE = 128 * 1024;

describe.skipIf(process.arch !== 'x64')('a tender on a processor with 128 KiB of vector state', () => {
  const tenders = new Tenders('process');
  const wide = async (guest: string) => {
    const tender = tenders.make(guestImage(guest), built('kerb-tender-wide'));
    await tender.start();
    return tender;
  };

  // A tender is not dumpable, so only root may look.
  test.skipIf(process.getuid?.() !== 0)(
    'maps all of the area, and a fault stack that holds the signal frame',
    async () => {
      const usual = await tenders.guest('hello');
      const [stack = 0, area = 0] = mappedAt(usual.pid!, [FAULT_STACK, VECTORS]);
      expect(stack).toBe(64 * 1024);
      expect(area).toBe(4096);
      const tender = await wide('hello');
      const [wideStack = 0, wideArea = 0] = mappedAt(tender.pid!, [FAULT_STACK, VECTORS]);
      expect(wideArea).toBe(WIDE);
      expect(wideStack).toBeGreaterThanOrEqual(WIDE + 1024);
    },
  );

  test('runs guests, and hears of their faults', async () => {
    const hello = await wide('hello');
    for (let i = 0; i < 3; i++) expect(answer(await hello.call(Buffer.from('road'), 5_000))).toBe('hello, road');
    expect(fault(await (await wide('null')).call(Buffer.alloc(0), 5_000))).toMatch(/^SIGSEGV: null pointer/);
    expect(fault(await (await wide('recursion')).call(Buffer.alloc(0), 5_000))).toMatch(/^SIGSEGV: stack overflow/);
    expect(fault(await (await wide('divide')).call(u64(0), 5_000))).toMatch(/^SIGFPE/);
  });
});
