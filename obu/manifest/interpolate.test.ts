// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what Compose reads
import { describe, expect, it } from 'vitest';
import { isKerbError } from '../../shared/base/errors.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import { interpolate } from './interpolate.ts';
import { parseManifest } from './manifest.ts';

describe('a value with variables, where none is set', () => {
  // Right: what Compose makes of it in an empty environment (compose-spec, "Interpolation").
  it.each([
    ['no dollar', 'no dollar'],
    ['$$', '$'],
    ['i=0; i=$$((i+1))', 'i=0; i=$((i+1))'],
    ['$${NOT_ONE}', '${NOT_ONE}'],
    ['${LEVEL:-info}', 'info'],
    ['${LEVEL-info}', 'info'],
    ['${LEVEL:-}', ''],
    ['tcp://${HOST:-10.0.0.1}:${PORT:-1883}/x', 'tcp://10.0.0.1:1883/x'],
    ['${A:-${B:-deep}}', 'deep'],
    ['${A:-a$$b}', 'a$b'],
    ['${A:-{"k": 1\\}', '{"k": 1\\'],
    ['${SET:+more}', ''],
    ['${SET+more}', ''],
    ['${A:-a:-b}', 'a:-b'],
    ['${A:-line\nline}', 'line\nline'],
  ])('%j is %j', (text, wanted) => {
    expect(interpolate(text)).toEqual({ text: wanted });
  });

  it.each([
    '$HOME',
    '${HOME}',
    '${HOME:?it is needed}',
    '${HOME?}',
    '${A:-$B}',
    '$(date)',
    'costs 5$',
    '$1',
    '${',
    '${A',
    '${A:-${B:-x}',
    '${}',
    '${1A:-x}',
    '${A B}',
    '${A:=x}',
    '${'.repeat(40) + '}'.repeat(40),
    `${'${A:-'.repeat(40)}x${'}'.repeat(40)}`,
  ])('%j is refused', (text) => {
    expect(interpolate(text)).toEqual({ fault: expect.stringMatching(/\S/) });
  });
});

describe('a manifest with variables', () => {
  it('has their defaults, as texts where a text is wanted and as numbers where a number is', () => {
    const text =
      'services:\n  a:\n    image: bb:${TAG:-1}\n    init: ${I:-true}\n    pids_limit: ${P:-7}\n    cpus: ${C:-0.5}\n' +
      '    mem_limit: ${M:-64m}\n    environment: { V: "${V:-1.10}", W: "$${X}" }\n    command: ["sh", "-c", "echo $$HOME"]\n';
    expect(parseManifest(text, 'car.yaml')[0]).toMatchObject({
      image: 'bb:1',
      init: true,
      pidsLimit: 7,
      cpus: 0.5,
      memLimit: 64 * 2 ** 20,
      environment: { V: '1.10', W: '${X}' },
      command: ['sh', '-c', 'echo $HOME'],
    });
  });

  it('is refused with the line of each that has no value', () => {
    const text =
      'services:\n  a:\n    image: x\n    environment:\n      - A=$HOME\n      - B=${B:-b}\n      - C=${C?no}\n';
    try {
      parseManifest(text, 'car.yaml');
      expect.unreachable();
    } catch (error) {
      if (!isKerbError(error)) throw error;
      expect(problemLines(error).map((line) => line.split(' has ')[0]!.split(' needs ')[0])).toEqual([
        'car.yaml:5: services.a.environment[0]:',
        'car.yaml:7: services.a.environment[2]:',
      ]);
    }
  });
});
