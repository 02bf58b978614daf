import { describe, expect, it } from 'vitest';
import { isKerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { parseManifest } from './manifest.ts';

const of = (value: string) =>
  `services:\n  a:\n    image: x:1\n    environment:\n      V: ${value}\n    labels: { l: ${value} }\n    command: [${value}]\n`;

function environment(value: string): string {
  const [workload] = parseManifest(of(value), 'car.yaml');
  const { V } = workload!.environment;
  // The same value is the same text wherever a text is wanted.
  expect([workload!.labels.l, workload!.command![0]]).toEqual([V, V]);
  return V!;
}

function problems(text: string): string[] {
  try {
    parseManifest(text, 'car.yaml');
    return [];
  } catch (error) {
    if (isKerbError(error)) return problemLines(error);
    throw error;
  }
}

describe('a bare value where a text is wanted', () => {
  // Right: what both YAML 1.2 (core schema, section 10.3.2) and Go's yaml.v3 with fmt.Sprint, as Compose has it, make of it.
  it.each([
    ['8900000000000012345', '8900000000000012345'],
    ['9007199254740993', '9007199254740993'],
    ['18446744073709551615', '18446744073709551615'],
    ['-9223372036854775808', '-9223372036854775808'],
    ['0xFFFFFFFFFFFFFFFF', '18446744073709551615'],
    ['860000000000001', '860000000000001'],
    ['+5', '5'],
    ['-0', '0'],
    ['0x7DF', '2015'],
    ['0o755', '493'],
    ['1.10', '1.1'],
    ['1e3', '1000'],
    ['48.137154', '48.137154'],
    ['TRUE', 'true'],
    ['yes', 'yes'],
    ['on', 'on'],
    ['12:30:45', '12:30:45'],
    ['2026-01', '2026-01'],
    ['2026-01-01-2', '2026-01-01-2'],
    ['_1000', '_1000'],
    ['1_a', '1_a'],
    ['192.168.0.1', '192.168.0.1'],
    ['1.2.3', '1.2.3'],
    ['0b12', '0b12'],
    ['0xZZ', '0xZZ'],
    ['1e', '1e'],
    ['~x', '~x'],
    ['1E9AB0000', '1E9AB0000'],
    ['"0755"', '0755'],
    ["'1.10'", '1.10'],
    ['!!str 0755', '0755'],
    ['"1_000"', '1_000'],
    ["'2026-01-01'", '2026-01-01'],
  ])('%s is %s', (written, text) => {
    expect(environment(written)).toBe(text);
  });

  it.each([
    '0755', // 755 in YAML 1.2, 493 in Compose
    '-0755',
    '0812345678',
    '007',
    '18446744073709551616',
    '-9223372036854775809',
    '0x1FFFFFFFFFFFFFFFF',
    '1234567890123456789012',
    '3.14159265358979323846',
    '0.1000000000000000055511151231257827',
    '1e400',
    '.inf',
    '.NaN',
    '-0.0',
    '1234567.5', // Go writes 1.2345675e+06
    '1e6',
    '0.00001',
    '!reset 5',
    // Texts in YAML 1.2 that yaml.v3 reads as a number or a time (its decode_test.go: `decimal: +685_230`, `a: 2015-01-01`).
    '1_000',
    '+685_230',
    '685_230.15',
    '0b101',
    '-0b1',
    '0X1F',
    '0x_0A_74',
    '-0x1F',
    '2026-01-01',
    '2026-1-2',
    '2026-01-01T12:30:45Z',
    '2026-01-01 12:30:45.5 +02:00',
  ])('%s is refused with its line', (written) => {
    const lines = problems(of(written));
    expect(lines[0]).toMatch(/^car\.yaml:5: /);
    for (const line of lines) expect(line).toMatch(/^car\.yaml:\d+: .*(quotes|tag)/);
  });

  it('is no number where a number is wanted, when it has too many digits for one', () => {
    expect(problems('services:\n  a:\n    image: x\n    pids_limit: 9007199254740993\n')).toEqual([
      expect.stringMatching(/^car\.yaml:4: services\.a\.pids_limit: must be a number of processes/),
    ]);
  });
});
