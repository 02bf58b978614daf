import { describe, expect, it } from 'vitest';
import { parseManifest } from '../../obu/manifest/manifest.ts';
import { ErrorCode, isKerbError } from '../base/errors.ts';
import { decodeUtf8 } from '../text/utf8.ts';
import { problemLines } from './problem.ts';

function problems(text: string): string[] {
  try {
    parseManifest(text, 'car.yaml');
    return [];
  } catch (error) {
    if (isKerbError(error, ErrorCode.BadManifest)) return problemLines(error);
    throw error;
  }
}

/** Words of the parser and of its API, which mean nothing to who writes a manifest. */
const foreign =
  /parse[A-Z]|Document\b|implicit|flow|token|scalar|collection|mapping|sequence|resolve|toJS|options|source/;

describe('a file that YAML cannot take', () => {
  it.each<[string, string, number]>([
    ['a second document', '---\nservices:\n  a: { image: x }\n---\nservices: {}\n', 4],
    ['a tab that indents', 'services:\n  a:\n\timage: x\n', 3],
    ['a key twice', 'services:\n  a: { image: x }\n  a: { image: y }\n', 3],
    ['a key twice in braces', 'services:\n  a: { image: x, image: y }\n', 2],
    ['a quote that is open', 'services:\n  a: { image: "x }\n', 3],
    ['a bracket that is open', 'services:\n  a: { image: x, command: [a }\n', 2],
    ['a value after a key and a value', 'services:\n  a:\n    image: x: 1\n', 3],
    ['a line that is less indented', 'services:\n    a:\n      image: x\n   b: {}\n', 4],
    ['a text that begins with @', 'services:\n  a: { image: @x }\n', 2],
    ['an escape that is none', 'services:\n  a: { image: "\\q" }\n', 2],
    ['an alias to nothing', 'services:\n  a:\n    image: x\n    labels: *nowhere\n', 4],
    ['an alias before its anchor', 'services:\n  a: *b\n  b: &b { image: x }\n', 2],
    ['a merge of a text', 'services:\n  a:\n    <<: text\n    image: x\n', 3],
    ['a merge of a list of texts', 'x-b: &b text\nservices:\n  a:\n    <<: [*b]\n    image: x\n', 4],
    ['a merge of nothing', 'services:\n  a:\n    <<: *base\n    image: x\n', 3],
    ['a tag of somebody', 'services:\n  a:\n    image: !mine x\n', 3],
    ['another version', '%YAML 1.1\n---\nservices:\n  a: { image: x }\n', 1],
    ['a map as a key', 'services:\n  a:\n    image: x\n    environment: { {b: c}: d }\n', 4],
    ['a control character', 'services:\n  a:\n    image: "x\u0007"\n', 3],
    ['a NUL', 'services:\n  a:\n    image: x\u0000\n', 3],
    ['line ends of an old Mac', 'services:\r  a:\r    image: x\r', 1],
    ['lists that are too deep', `services: ${'['.repeat(50_000)}`, 1],
  ])('%s: is refused with its line, in plain words', (_what, text, line) => {
    const lines = problems(text);
    expect(lines[0]).toMatch(new RegExp(`^car\\.yaml:${line}: `));
    for (const one of lines) {
      expect(one.replace('car.yaml', '')).not.toMatch(foreign);
      expect(one).toMatch(/^[^\n]+$/);
    }
  });

  it('a file that grows out of all bounds is refused', () => {
    const levels = Array.from({ length: 9 }, (_, i) => `x-${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]\n`).join('');
    const lines = problems(`x-0: &a0 [1,2]\n${levels}services:\n  a: { image: x, command: *a9 }\n`);
    expect(lines).toEqual([expect.stringMatching(/^car\.yaml:1: its aliases/)]);
  });
});

describe('a file that YAML takes', () => {
  it('may have line ends of Windows, a byte order mark, comments and a marker in front', () => {
    const text = '# a car\r\n---\r\nservices:\r\n  a:\r\n    image: x:1\r\n    hostname: h # mine\r\n...\r\n';
    const decoded = decodeUtf8(Buffer.from(`\ufeff${text}`));
    expect('text' in decoded && parseManifest(decoded.text, 'car.yaml')[0]).toMatchObject({ hostname: 'h' });
  });

  it('may keep what services share, and notes, under keys that begin with x-', () => {
    const text =
      'x-base: &base\n  image: bb:1\n  restart: always\nx-more: { mem_limit: 64m }\nservices:\n  a:\n    <<: *base\n    x-note: mine\n  b:\n' +
      '    <<: [*base, { cpus: 1 }]\n    image: bb:2\n';
    expect(parseManifest(text, 'car.yaml').map((one) => [one.image, one.restart.policy, one.cpus])).toEqual([
      ['bb:1', 'always', undefined],
      ['bb:2', 'always', 1],
    ]);
  });

  it('may not mistype x-obu, which would take its grants and its priority away', () => {
    expect(problems('services:\n  a:\n    image: x\n    x-ob: { priority: 1 }\n')).toEqual([
      expect.stringMatching(/^car\.yaml:4: services\.a\.x-ob: .*x-obu/),
    ]);
  });
});

describe('one value, one problem', () => {
  it('of a variable that has no value it is said what it is, and not that it does not fit', () => {
    const text = 'services:\n  a:\n    image: x:$TAG\n    mem_limit: $MEMORY\n    x-obu: { priority: $RANK }\n';
    expect(problems(text)).toEqual([
      expect.stringMatching(/^car\.yaml:3: services\.a\.image: has `\$TAG`/),
      expect.stringMatching(/^car\.yaml:4: services\.a\.mem_limit: has `\$MEMORY`/),
      expect.stringMatching(/^car\.yaml:5: services\.a\.x-obu\.priority: has `\$RANK`/),
    ]);
  });

  it('a brace that is not closed is said once', () => {
    expect(problems('services: {a: {image: x')).toHaveLength(1);
  });
});

describe('bytes', () => {
  it('that are not UTF-8 are told by their line', () => {
    expect(decodeUtf8(Buffer.from('a\nb\n\xff\xfe\n', 'latin1'))).toEqual({ line: 3 });
    expect(decodeUtf8(Buffer.from('services', 'utf16le'))).toEqual({ text: 's\0e\0r\0v\0i\0c\0e\0s\0' });
    expect(decodeUtf8(Buffer.from('\xff\xfes\0', 'latin1'))).toEqual({ line: 1 });
    expect(decodeUtf8(Buffer.from([0x61, 0x0a, 0xe2, 0x82]))).toEqual({ line: 2 });
  });

  it('that are UTF-8 are what they stand for', () => {
    expect(decodeUtf8(Buffer.from('Fähre\n車'))).toEqual({ text: 'Fähre\n車' });
    expect(decodeUtf8(Buffer.alloc(0))).toEqual({ text: '' });
  });
});
