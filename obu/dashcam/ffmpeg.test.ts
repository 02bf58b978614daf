import { describe, expect, it } from 'vitest';
import { Complaints } from './ffmpeg.ts';

function reasonOf(...parts: string[]): string {
  const complaints = new Complaints();
  for (const part of parts) complaints.push(part);
  return complaints.reason();
}

describe('Complaints', () => {
  it('says the last line, without what the component says in the same words', () => {
    const lines = ['[video4linux2,v4l2 @ 0x55d] Cannot open video device /dev/video9: No such file or directory\n'];
    lines.push('/dev/video9: No such file or directory\n');
    expect(reasonOf(...lines)).toBe('/dev/video9: No such file or directory');
  });

  it('adds the words of the component where they tell more', () => {
    const lines = "[concat @ 0x5] Format not on whitelist 'mov'\nfile:/x.mp4: Invalid argument\n";
    expect(reasonOf(lines)).toBe("file:/x.mp4: Invalid argument (concat: Format not on whitelist 'mov')");
  });

  it('leaves out the closing words of newer versions', () => {
    const lines = '[in#0 @ 0x5] Error opening input: Connection refused\nError opening input file rtsp://cam/x.\n';
    expect(reasonOf(lines, 'Error opening input files: Connection refused\n')).toBe(
      'in#0: Error opening input: Connection refused',
    );
  });

  it('puts lines together that come in pieces, the last one without its end too', () => {
    expect(reasonOf('/dev/vid', 'eo9: Devi', 'ce or resource busy')).toBe('/dev/video9: Device or resource busy');
  });

  it('is empty when nothing was said, and keeps a bounded part of endless words', () => {
    expect(reasonOf()).toBe('');
    expect(reasonOf('\n\n')).toBe('');
    const complaints = new Complaints();
    for (let at = 0; at < 1000; at++) complaints.push('x'.repeat(1000));
    expect(complaints.reason().length).toBeLessThanOrEqual(2000);
  });
});
