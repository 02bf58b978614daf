import { spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import type { TenderOutcome } from '../../broker/tenders/process/tender.ts';
import { longIt, rows } from '../support/rounds.ts';
import { forEachIsolation, taskImage, u64 } from './support.ts';

const folder = mkdtempSync(join(tmpdir(), 'kerb-tasks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function output(outcome: TenderOutcome): Buffer {
  if (outcome.outcome !== 'done' || outcome.status !== 0) throw new Error(`not done: ${JSON.stringify(outcome)}`);
  return outcome.output;
}

/** What a task logs when it refuses its input: one line, which its caller is told. */
const A_SENTENCE = expect.stringMatching(/^[^\n]{10,200}\n$/);

/** Repeatable bytes: xorshift32, Marsaglia 2003. */
function bytes(size: number, seed: number): Buffer {
  const result = Buffer.alloc(size);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < size; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    result[i] = state >>> 16;
  }
  return result;
}

function picture(width: number, height: number, pixels: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(width, 0);
  header.writeUInt32LE(height, 4);
  return Buffer.concat([header, pixels]);
}

/** Half of the contrast in the region of the road, by sorting: no histogram. */
function thresholdOf(width: number, height: number, pixels: Uint8Array): number {
  const top = Math.floor((height * 45) / 100);
  const seen: number[] = [];
  for (let y = top; y < height; y += 4) {
    const side = Math.floor((width * 40) / 100);
    const inset = height - 1 > top ? Math.floor((side * (height - 1 - y)) / (height - 1 - top)) : 0;
    for (let x = inset; x < width - inset; x++) seen.push(pixels[y * width + x]!);
  }
  seen.sort((a, b) => a - b);
  // The smallest value that so many of them do not exceed.
  const percentile = (percent: number) => seen[Math.max(1, Math.ceil((seen.length * percent) / 100)) - 1]!;
  return Math.min(64, Math.max(12, Math.floor((percentile(99) - percentile(1)) / 2)));
}

/** The filter by its definition, pixel by pixel: no rows, no separable sums. */
function filtered(width: number, height: number, pixels: Uint8Array): Buffer {
  const binomial = [1, 4, 6, 4, 1];
  const clamp = (value: number, last: number): number => Math.min(Math.max(value, 0), last);
  const smooth = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let dy = -2; dy <= 2; dy++) {
        for (let dx = -2; dx <= 2; dx++) {
          const at = clamp(y + dy, height - 1) * width + clamp(x + dx, width - 1);
          sum += binomial[dy + 2]! * binomial[dx + 2]! * pixels[at]!;
        }
      }
      smooth[y * width + x] = Math.floor((sum + 128) / 256);
    }
  }
  const threshold = thresholdOf(width, height, pixels);
  const at = (x: number, y: number): number => smooth[clamp(y, height - 1) * width + clamp(x, width - 1)]!;
  const result = Buffer.alloc(width * height);
  const top = Math.floor((height * 45) / 100);
  for (let y = top; y < height; y++) {
    const inset =
      height - 1 > top ? Math.floor((Math.floor((width * 40) / 100) * (height - 1 - y)) / (height - 1 - top)) : 0;
    for (let x = inset; x < width - inset; x++) {
      let gx = 0;
      let gy = 0;
      for (const [step, weight] of [
        [-1, 1],
        [0, 2],
        [1, 1],
      ] as const) {
        gx += weight * (at(x + 1, y + step) - at(x - 1, y + step));
        gy += weight * (at(x + step, y + 1) - at(x + step, y - 1));
      }
      result[y * width + x] = gx * gx + gy * gy >= threshold * threshold ? 255 : Math.floor(at(x, y) / 2);
    }
  }
  return picture(width, height, result);
}

/** Two bright lines on a dark road: edges that are there, and flat ground that has none. */
function road(width: number, height: number, { ground = 60, noise = 7, line = 230 } = {}): Buffer {
  const pixels = bytes(width * height, 7).map((value) => ground + (value & noise));
  for (let y = 0; y < height; y++) {
    for (const side of [-1, 1]) {
      const centre = Math.round(width / 2 + (side * (y / height) * width) / 3);
      for (let x = centre - 3; x <= centre + 3; x++) if (x >= 0 && x < width) pixels[y * width + x] = line;
    }
  }
  return Buffer.from(pixels);
}

await forEachIsolation((tenders) => {
  describe('dashcam-filter', () => {
    const run = async (input: Uint8Array): Promise<TenderOutcome> =>
      (await tenders.task('dashcam-filter')).call(input, 5_000);

    test.each([
      [1, 1],
      [1, 7],
      [7, 1],
      [2, 2],
      [3, 5],
      [5, 3],
      [17, 16],
      [64, 48],
      [101, 99],
      [320, 240],
    ])('is exact on noise of %d x %d', async (width, height) => {
      const pixels = bytes(width * height, width * 1000 + height);
      expect(output(await run(picture(width, height, pixels))).equals(filtered(width, height, pixels))).toBe(true);
    });

    test('is exact on a road, and finds its lines', async () => {
      const pixels = road(640, 360);
      const result = output(await run(picture(640, 360, pixels)));
      expect(result.equals(filtered(640, 360, pixels))).toBe(true);
      const kept = result.subarray(8);
      const edges = kept.reduce((count, value) => count + (value === 255 ? 1 : 0), 0);
      expect(edges).toBeGreaterThan(1_000);
      expect(edges).toBeLessThan(20_000);
      // The sky is not kept.
      expect(kept.subarray(0, 640 * 160).every((value) => value === 0)).toBe(true);
    });

    test('finds in the dark what it finds by day, and nothing where there is nothing', async () => {
      const edgesOf = async (pixels: Uint8Array) => {
        const result = output(await run(picture(640, 360, pixels)));
        expect(result.equals(filtered(640, 360, pixels))).toBe(true);
        return result.subarray(8).reduce((count, value) => count + (value === 255 ? 1 : 0), 0);
      };
      const day = await edgesOf(road(640, 360));
      // A step of 17 grey levels, of which a gradient is 42.5 at most: below the 64 of a bright picture.
      const night = await edgesOf(road(640, 360, { ground: 8, noise: 1, line: 25 }));
      expect(night).toBeGreaterThan(day / 2);
      expect(night).toBeLessThan(day * 2);
      expect(await edgesOf(road(640, 360, { ground: 8, noise: 3, line: 8 }))).toBe(0);
      expect(await edgesOf(new Uint8Array(640 * 360))).toBe(0);
    });

    test('has the threshold that was worked out by hand', async () => {
      // 1 x 12 pixels: the region is rows 5 to 11, of which rows 5 and 9 are counted: 100 and 160, half of their
      // difference is 30. Above row 5 it is 100, from row 6 on 160 but for row 8, which is 148.
      const pixels = Uint8Array.from([100, 100, 100, 100, 100, 100, 160, 160, 148, 160, 160, 160]);
      expect(thresholdOf(1, 12, pixels)).toBe(30);
      expect(
        thresholdOf(
          1,
          12,
          pixels.map((value) => value / 10),
        ),
      ).toBe(12);
      expect(
        thresholdOf(
          1,
          12,
          Uint8Array.from(pixels, (value, y) => (y === 9 ? 255 : value)),
        ),
      ).toBe(64);
      // Smoothed, from row 4 on: 104 (103.75), 119 (118.75), 141 (140.5), 153, 156, 157, 159, 160. A gradient is four times
      // the difference of the rows above and below: 148, 136, 60, 16, 12, 12 and 4 from row 5 on.
      const result = output(await run(picture(1, 12, pixels))).subarray(8);
      expect([...result]).toEqual([0, 0, 0, 0, 0, 255, 255, 255, 78, 78, 79, 80]);
    });

    test('takes 1920 x 1080', async () => {
      const pixels = road(1920, 1080);
      expect(output(await run(picture(1920, 1080, pixels))).equals(filtered(1920, 1080, pixels))).toBe(true);
    });

    test.each([
      ['nothing', Buffer.alloc(0), 1],
      ['half a header', Buffer.alloc(7), 1],
      ['no width', picture(0, 10, Buffer.alloc(0)), 2],
      ['no height', picture(10, 0, Buffer.alloc(0)), 2],
      ['a width above 4096', picture(4097, 1, Buffer.alloc(4097)), 2],
      ['2^32 - 1 by 2^32 - 1', picture(0xffffffff, 0xffffffff, Buffer.alloc(1)), 2],
      ['too few pixels', picture(10, 10, Buffer.alloc(99)), 3],
      ['too many pixels', picture(10, 10, Buffer.alloc(101)), 3],
    ])('refuses %s', async (_what, input, status) => {
      const outcome = await run(input);
      expect(outcome).toMatchObject({ outcome: 'done', status, log: A_SENTENCE });
      if (outcome.outcome === 'done') expect(outcome.output.length).toBe(0);
    });
  });

  interface Aggregate {
    readonly count: number;
    readonly mean: number;
    readonly variance: number;
    readonly minimum: number;
    readonly maximum: number;
    readonly quantiles: number[];
  }

  const doubles = (values: readonly number[]): Buffer => Buffer.from(new Float64Array(values).buffer);

  function decoded(result: Buffer): Aggregate {
    const at = (index: number): number => result.readDoubleLE(index * 8);
    expect(result.length).toBe(80);
    return {
      count: at(0),
      mean: at(1),
      variance: at(2),
      minimum: at(3),
      maximum: at(4),
      quantiles: [at(5), at(6), at(7), at(8), at(9)],
    };
  }

  /** By sorting, and in exact arithmetic where it matters: values are multiples of 2^-20, so sums are whole BigInts. */
  function aggregated(values: readonly number[]): Aggregate {
    const sorted = [...values].sort((a, b) => a - b);
    const scale = 2 ** 20;
    const whole = values.map((value) => BigInt(value * scale));
    const count = BigInt(values.length);
    const sum = whole.reduce((total, value) => total + value, 0n);
    // sum of (x - mean)^2 = (n * sum of x^2 - (sum of x)^2) / n
    const squares = count * whole.reduce((total, value) => total + value * value, 0n) - sum * sum;
    const ratio = (above: bigint, below: bigint): number => Number((above << 80n) / below) / 2 ** 80;
    const quantile = (level: number): number => {
      const place = level * (values.length - 1);
      const low = Math.floor(place);
      return sorted[low]! + (place - low) * (sorted[Math.min(low + 1, values.length - 1)]! - sorted[low]!);
    };
    return {
      count: values.length,
      mean: ratio(sum, count) / scale,
      variance: values.length === 1 ? 0 : ratio(squares, count * (count - 1n)) / scale / scale,
      minimum: sorted[0]!,
      maximum: sorted.at(-1)!,
      quantiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(quantile),
    };
  }

  function expectClose(actual: number, wanted: number, scale: number): void {
    expect(Math.abs(actual - wanted)).toBeLessThanOrEqual(1e-13 * scale);
  }

  describe('aggregate', () => {
    const run = async (input: Uint8Array): Promise<TenderOutcome> =>
      (await tenders.task('aggregate')).call(input, 10_000);

    const random = (count: number, seed: number, spread: number, offset: number): number[] => {
      const raw = bytes(count * 4, seed);
      return Array.from(
        { length: count },
        (_, i) => offset + Math.round((raw.readInt32LE(i * 4) / 2 ** 31) * spread * 2 ** 20) / 2 ** 20,
      );
    };

    test.each([
      ['one value', [42.5]],
      ['two values', [3, 1]],
      ['equal values', Array.from({ length: 1000 }, () => 7.25)],
      ['ascending values', Array.from({ length: 1001 }, (_, i) => i)],
      ['descending values', Array.from({ length: 1000 }, (_, i) => 1000 - i)],
      ['few distinct values', random(5000, 3, 3, 0).map(Math.round)],
      ['noise', random(10_000, 4, 100, 0)],
      ['noise far from zero', random(10_000, 5, 1, 1e9)],
      ['negative values', random(999, 6, 10, -1000)],
    ])('of %s is right', async (_what, values) => {
      const actual = decoded(output(await run(doubles(values))));
      const wanted = aggregated(values);
      const scale = Math.max(Math.abs(wanted.minimum), Math.abs(wanted.maximum), 1);
      expect(actual.count).toBe(wanted.count);
      expect(actual.minimum).toBe(wanted.minimum);
      expect(actual.maximum).toBe(wanted.maximum);
      expectClose(actual.mean, wanted.mean, scale);
      // Each deviation is off by at most half a unit in the last place of the mean.
      expectClose(actual.variance, wanted.variance, Math.max(wanted.variance, 1) * Math.max(1, scale / 1000));
      wanted.quantiles.forEach((value, index) => {
        expectClose(actual.quantiles[index]!, value, scale);
      });
    });

    longIt('of the largest input is right', async () => {
      const values = random(1 << 20, 8, 50, 0);
      const actual = decoded(output(await run(doubles(values))));
      const wanted = aggregated(values);
      expectClose(actual.mean, wanted.mean, 50);
      expectClose(actual.variance, wanted.variance, wanted.variance);
      wanted.quantiles.forEach((value, index) => {
        expectClose(actual.quantiles[index]!, value, 50);
      });
    });

    test.each([
      ['nothing', Buffer.alloc(0), 1],
      ['half a value', Buffer.alloc(12), 2],
      ['NaN', doubles([1, Number.NaN]), 3],
      ['infinity', doubles([1, Number.POSITIVE_INFINITY]), 3],
      ['minus infinity', doubles([Number.NEGATIVE_INFINITY]), 3],
      ['what cannot be summed', doubles([1.7e308, 1.7e308]), 4],
    ])('refuses %s', async (_what, input, status) => {
      expect(await run(input)).toMatchObject({ outcome: 'done', status, log: A_SENTENCE });
    });
  });

  describe('echo', () => {
    test.each([0, 1, 63, 64, 4096, 16_384, 16_385, 65_536, 262_144, 262_145, 1 << 20, (1 << 20) + 1, 4 << 20])(
      'gives %d bytes back',
      async (size) => {
        const input = bytes(size, size + 1);
        const tender = await tenders.task('echo');
        for (let i = 0; i < 3; i++) expect(output(await tender.call(input, 5_000)).equals(input)).toBe(true);
      },
    );
  });

  describe('compress', () => {
    const run = async (input: Uint8Array): Promise<TenderOutcome> =>
      (await tenders.task('compress')).call(input, 10_000);

    test.each([
      ['nothing', Buffer.alloc(0)],
      ['one byte', Buffer.from('k')],
      ['text', Buffer.from('the quick brown fox jumps over the lazy dog\n'.repeat(5_000))],
      ['zeros', Buffer.alloc(1 << 20)],
      ['noise', bytes(1 << 20, 9)],
      ['the largest input, which cannot be made smaller', bytes(4 << 20, 10)],
    ])('of %s is what gunzip gives back', async (_what, input) => {
      const packed = output(await run(input));
      expect(gunzipSync(packed).equals(input)).toBe(true);
      const gzip = spawnSync('gzip', ['-dc'], { input: packed, maxBuffer: 8 << 20 });
      expect(gzip.stderr.toString()).toBe('');
      expect(gzip.stdout.equals(input)).toBe(true);
      // Neither name nor time: the same bytes in, the same bytes out.
      expect(output(await run(input)).equals(packed)).toBe(true);
    });

    test('makes text smaller', async () => {
      const text = Buffer.from(
        Array.from({ length: 20_000 }, (_, i) => `${i}: speed ${(i * 7) % 130} km/h`).join('\n'),
      );
      expect(output(await run(text)).length).toBeLessThan(text.length / 4);
    });
  });

  describe('crypt', () => {
    const run = async (input: Uint8Array): Promise<TenderOutcome> => (await tenders.task('crypt')).call(input, 10_000);

    interface Request {
      readonly key: Buffer;
      readonly nonce: Buffer;
      readonly additional: Buffer;
      readonly text: Buffer;
    }
    const request = (operation: number, { key, nonce, additional, text }: Request): Buffer => {
      const size = Buffer.alloc(4);
      size.writeUInt32LE(additional.length);
      return Buffer.concat([Buffer.from([operation]), key, nonce, size, additional, text]);
    };
    const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

    // RFC 8439, section 2.8.2.
    const published: Request = {
      key: hex('808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f'),
      nonce: hex('07000000 4041424344454647'),
      additional: hex('50515253c0c1c2c3c4c5c6c7'),
      text: Buffer.from(
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
      ),
    };
    const sealed = hex(`
    d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b
    1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
    3ff4def08e4b7a9de576d26586cec64b 6116 1ae10b594f09e26a7e902ecbd0600691`);

    // RFC 8439, appendix A.5.
    const draft: Request = {
      key: hex('1c9240a5eb55d38af333888604f6b5f0 473917c1402b80099dca5cbc207075c0'),
      nonce: hex('000000000102030405060708'),
      additional: hex('f33388860000000000004e91'),
      text: hex(`
      64a0861575861af460f062c79be643bd 5e805cfd345cf389f108670ac76c8cb2 4c6cfc18755d43eea09ee94e382d26b0
      bdb7b73c321b0100d4f03b7f355894cf 332f830e710b97ce98c8a84abd0b9481 14ad176e008d33bd60f982b1ff37c855
      9797a06ef4f0ef61c186324e2b350638 3606907b6a7c02b0f9f6157b53c867e4 b9166c767b804d46a59b5216cde7a4e9
      9040c5a40433225ee282a1b0a06c523e af4534d7f83fa1155b0047718cbc546a 0d072b04b3564eea1b422273f548271a
      0bb2316053fa76991955ebd63159434e cebb4e466dae5a1073a6727627097a10 49e617d91d361094fa68f0ff77987130
      305beaba2eda04df997b714d6c6f2c29 a6ad5cb4022b02709b eead9d67890cbb22392336fea1851f38`),
    };

    /** The same by Node's OpenSSL. */
    const byOpenSsl = ({ key, nonce, additional, text }: Request): Buffer => {
      const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
      cipher.setAAD(additional, { plaintextLength: text.length });
      return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
    };

    test('seals the vector of RFC 8439, and opens it and the one of its appendix', async () => {
      expect(output(await run(request(0, published))).toString('hex')).toBe(sealed.toString('hex'));
      expect(output(await run(request(1, { ...published, text: sealed }))).equals(published.text)).toBe(true);
      expect(output(await run(request(1, draft))).toString()).toMatch(
        /^Internet-Drafts are draft documents .* progress\./,
      );
    });

    test.each([
      [0, 0],
      [1, 0],
      [0, 13],
      [16, 16],
      [63, 1],
      [65, 31],
      [4096, 100],
      [1 << 20, 5],
      [4 << 20, 1000],
    ])('seals and opens %d bytes with %d additional ones as OpenSSL does', async (size, additionalSize) => {
      const wanted: Request = {
        key: bytes(32, size + 1),
        nonce: bytes(12, size + 2),
        additional: bytes(additionalSize, size + 3),
        text: bytes(size, size + 4),
      };
      const result = output(await run(request(0, wanted)));
      expect(result.equals(byOpenSsl(wanted))).toBe(true);
      expect(output(await run(request(1, { ...wanted, text: result }))).equals(wanted.text)).toBe(true);
    });

    test('gives nothing out when one bit is wrong, wherever', async () => {
      const good = request(1, { ...published, text: sealed });
      for (let at = 1; at < good.length; at++) {
        if (at >= 45 && at < 49) continue; // the length of the additional data: below
        const changed = Buffer.from(good);
        changed[at] = changed[at]! ^ (1 << (at % 8));
        const outcome = await run(changed);
        expect(outcome).toMatchObject({ outcome: 'done', status: 3 });
        if (outcome.outcome === 'done') expect(outcome.output.length).toBe(0);
      }
    });

    const long = (additionalSize: number): Buffer => {
      const input = request(1, { ...published, text: sealed });
      input.writeUInt32LE(additionalSize, 45);
      return input;
    };
    test.each([
      ['nothing', Buffer.alloc(0), 1],
      ['a request that is cut short', request(0, published).subarray(0, 48), 1],
      ['an unknown operation', request(2, published), 2],
      ['additional data that leaves the input', long(0xffffffff), 1],
      ['additional data of another length', long(13), 3],
      ['a text without a tag', request(1, { ...published, text: sealed.subarray(0, 15) }), 1],
      ['an empty text with a wrong tag', request(1, { ...published, text: sealed.subarray(0, 16) }), 3],
    ])('refuses %s', async (_what, input, status) => {
      expect(await run(input)).toMatchObject({ outcome: 'done', status, log: A_SENTENCE });
    });
  });

  describe('the same functions outside a tender', () => {
    const program = (name: string): string => {
      const path = join(import.meta.dirname, '../../build/bench', name);
      if (!existsSync(path)) throw new Error(`${path} is missing: run make -C broker/unikernel tests (npm test does)`);
      return path;
    };
    const pixels = road(160, 120);
    const input = picture(160, 120, pixels);

    test('as a program give the same result', () => {
      const run = spawnSync(program('spawn-dashcam-filter'), { input });
      expect(run.status).toBe(0);
      expect(run.stdout.equals(filtered(160, 120, pixels))).toBe(true);
      expect(spawnSync(program('spawn-dashcam-filter'), { input: Buffer.alloc(3) }).status).toBe(1);
    });

    test('in a loop give their times', () => {
      const run = spawnSync(program('bare-dashcam-filter'), ['100'], { input, encoding: 'utf8' });
      const times = JSON.parse(run.stdout) as { n: number; p50: number; p99: number; max: number };
      expect(times.n).toBe(100);
      expect(times.p50).toBeGreaterThan(0);
      expect(times.max).toBeGreaterThanOrEqual(times.p99);
      expect(taskImage('dashcam-filter')).toBeTruthy();
    });
  });

  describe('build-task.sh', () => {
    const script = join(import.meta.dirname, '../../broker/unikernel/build-task.sh');

    test('passes on what the compiler says, with file and line', () => {
      const run = spawnSync(script, [join(import.meta.dirname, 'broken/syntax.c'), '/dev/null'], { encoding: 'utf8' });
      expect(run.status).not.toBe(0);
      expect(run.stderr).toMatch(/broken\/syntax\.c:6:\d+: error:/);
    });

    longIt('refuses what a unikernel has not, by name', () => {
      const run = spawnSync(script, [join(import.meta.dirname, 'broken/fopen.c'), '/dev/null'], { encoding: 'utf8' });
      expect(run.status).not.toBe(0);
      expect(run.stderr).toMatch(/undefined reference to `fopen'/);
    });

    test('says of each thing that a task has not what to use instead', () => {
      const run = spawnSync(script, [join(import.meta.dirname, 'broken/files.c'), '/dev/null'], { encoding: 'utf8' });
      expect(run.status).not.toBe(0);
      const hints = run.stderr.split('\n').filter((line) => line.startsWith('build-task.sh: '));
      for (const name of ['fopen', 'fgets', 'fread', 'fscanf', 'open', 'read', 'getchar']) {
        expect(hints.filter((line) => line.includes(` ${name} is`))).toEqual([expect.stringMatching(/in_size/)]);
      }
      for (const name of ['dprintf', 'write']) {
        expect(hints.filter((line) => line.includes(` ${name} is`))).toEqual([expect.stringMatching(/kerb_log/)]);
      }
      expect(hints.find((line) => line.includes(' time is'))).toContain('kerb_time_ms');
      // Its own function, which nobody has written: no advice, only its name.
      expect(hints.find((line) => line.includes(' written_by_nobody is'))).not.toContain('in_size');
      expect(hints).toHaveLength(11);
    });

    test("warns of the task's own files, and of nothing else", () => {
      const image = join(folder, 'warning.elf');
      const run = spawnSync(script, [join(import.meta.dirname, 'broken/warning.c'), image], { encoding: 'utf8' });
      expect({ status: run.status, warnings: run.stderr.match(/^\S+: warning:/gm)?.length }).toEqual({
        status: 0,
        warnings: 1,
      });
      expect(run.stderr).toMatch(/broken\/warning\.c:\d+:\d+: warning:.*unused/);
    });

    const cxx = spawnSync('g++', ['--version']).status === 0;
    if (!cxx) console.warn('not run: task.h as C++ (g++ is not installed)');
    test.skipIf(!cxx).each(rows(1, ['c++20', 'c++17']))(
      'task.h compiles as %s, and its notes are those of C',
      (standard) => {
        const object = join(folder, `task-${standard}.o`);
        const include = join(import.meta.dirname, '../../broker/unikernel/include');
        const source = join(import.meta.dirname, 'broken/task.cpp');
        const flags = [
          `-std=${standard}`,
          '-Wall',
          '-Wextra',
          '-Werror',
          '-ffreestanding',
          '-fno-exceptions',
          '-fno-rtti',
        ];
        const run = spawnSync('g++', [...flags, '-isystem', include, '-c', source, '-o', object], { encoding: 'utf8' });
        expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 0, stderr: '' });
        const names = spawnSync('nm', ['--defined-only', object], { encoding: 'utf8' }).stdout;
        expect(names).toMatch(/ T kerb_task$/m); // by its name in C
        const bytes = readFileSync(object);
        expect(
          bytes.indexOf(Buffer.concat([Buffer.from('Kerbside\0\0\0\0'), u64(1 << 20, 16, 32), Buffer.from('plus\0')])),
        ).toBeGreaterThan(0);
      },
    );

    test('says what is missing', () => {
      for (const source of ['/nonexistent', join(import.meta.dirname, '../../broker/unikernel/include')]) {
        const run = spawnSync(script, [source, '/dev/null'], { encoding: 'utf8' });
        expect(run.status).toBe(66);
        expect(run.stderr).toContain(source);
      }
      expect(spawnSync(script, []).status).toBe(64);
    });
  });
});
