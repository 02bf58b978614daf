import { describe, expect, it } from 'vitest';
import { ErrorOutput } from './ffmpeg.ts';

function reasonOf(...parts: string[]): string {
  const errorOutput = new ErrorOutput();
  for (const part of parts) errorOutput.push(part);
  return errorOutput.reason();
}

describe('ErrorOutput', () => {
  it('says the last line, without what the component says in the same words', () => {
    const lines = ['[video4linux2,v4l2 @ 0x55d] Cannot open video device /dev/video9: No such file or directory\n'];
    lines.push('/dev/video9: No such file or directory\n');
    expect(reasonOf(...lines)).toBe('/dev/video9: No such file or directory');
  });

  it('adds the words of the component where they tell more', () => {
    const lines = "[concat @ 0x5] Format not on whitelist 'mov'\nfile:/x.mp4: Invalid argument\n";
    expect(reasonOf(lines)).toBe("file:/x.mp4: Invalid argument (concat: Format not on whitelist 'mov')");
  });

  it.each([
    [
      '5.1',
      '/dev/video77: No such file or directory',
      '[video4linux2,v4l2 @ 0x55d] Cannot open video device /dev/video77: No such file or directory\n' +
        '/dev/video77: No such file or directory\n',
    ],
    [
      '7.1',
      '/dev/video77: No such file or directory',
      '[video4linux2,v4l2 @ 0x5] Cannot open video device /dev/video77: No such file or directory\n' +
        '[in#0 @ 0x5] Error opening input: No such file or directory\n' +
        'Error opening input file /dev/video77.\nError opening input files: No such file or directory\n',
    ],
    [
      '7.1',
      'file:/x.mp4: Invalid data found when processing input',
      '[in#0 @ 0x5] Error opening input: Invalid data found when processing input\n' +
        'Error opening input file file:/x.mp4.\nError opening input files: Invalid data found when processing input\n',
    ],
    [
      '7.1',
      "file:/c.mp4: Invalid argument (concat: Format not on whitelist 'mov')",
      "[concat @ 0x5] Format not on whitelist 'mov'\n[in#0 @ 0x5] Error opening input: Invalid argument\n" +
        'Error opening input file file:/c.mp4.\nError opening input files: Invalid argument\n',
    ],
    [
      '7.1, repeating itself',
      'file:/x.mp4: Invalid data found when processing input (mov,mp4: moov atom not found)',
      '[mov,mp4 @ 0x5] moov atom not found\n    Last message repeated 1 times\n' +
        '[in#0 @ 0x5] Error opening input: Invalid data found when processing input\n' +
        'Error opening input file file:/x.mp4.\nError opening input files: Invalid data found when processing input\n',
    ],
    ['cut off', 'Connection refused', '[in#0 @ 0x5] Error opening input: Connection refused\n'],
  ])('of version %s gives: %s', (_version, reason, lines) => {
    expect(reasonOf(lines)).toBe(reason);
    for (let cut = 0; cut < lines.length; cut += 7)
      expect(reasonOf(lines.slice(0, cut), lines.slice(cut))).toBe(reason);
  });

  it('puts lines together that come in pieces, the last one without its end too', () => {
    expect(reasonOf('/dev/vid', 'eo9: Devi', 'ce or resource busy')).toBe('/dev/video9: Device or resource busy');
  });

  it('is empty when nothing was said, and keeps a bounded part of endless words', () => {
    expect(reasonOf()).toBe('');
    expect(reasonOf('\n\n')).toBe('');
    const errorOutput = new ErrorOutput();
    for (let at = 0; at < 1000; at++) errorOutput.push('x'.repeat(1000));
    expect(errorOutput.reason().length).toBeLessThanOrEqual(2000);
  });
});
