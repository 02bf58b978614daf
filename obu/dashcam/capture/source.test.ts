import { describe, expect, it } from 'vitest';
import { ErrorCode, type KerbError } from '../../../shared/base/errors.ts';
import { describeSource, inputArguments, parseSource, redact, redactorOf } from './source.ts';

describe('parseSource', () => {
  it('reads every kind', () => {
    expect(parseSource('v4l2:/dev/video0')).toEqual({ kind: 'v4l2', device: '/dev/video0' });
    expect(parseSource('v4l2:/dev/v4l/by-id/usb-Cam_1.0-video-index0?size=1280x720&fps=30&format=mjpeg')).toEqual({
      kind: 'v4l2',
      device: '/dev/v4l/by-id/usb-Cam_1.0-video-index0',
      width: 1280,
      height: 720,
      fps: 30,
      pixelFormat: 'mjpeg',
    });
    expect(parseSource('rtsp://u:p@cam:554/x?y=1')).toEqual({ kind: 'rtsp', url: 'rtsp://u:p@cam:554/x?y=1' });
    expect(parseSource('rtsps://cam/x').kind).toBe('rtsp');
    expect(parseSource('file:/a b/-clip%d:.mp4')).toEqual({ kind: 'file', path: '/a b/-clip%d:.mp4' });
    expect(parseSource('sim:/run/x.sock')).toEqual({ kind: 'sim', socketPath: '/run/x.sock' });
  });

  it.each([
    '',
    'front',
    '/dev/video0',
    'v4l2:',
    'v4l2:video0',
    'v4l2:/etc/passwd',
    'v4l2:/dev/../etc/passwd',
    'v4l2:/dev/video0 -i /etc/passwd',
    'v4l2:/dev/video0?size=big',
    'v4l2:/dev/video0?fps=0',
    'v4l2:/dev/video0?fps=-1',
    'v4l2:/dev/video0?format=-x',
    'v4l2:/dev/video0?colour=1',
    'rtsp:',
    'rtsp:cam/x',
    'rtsp://',
    'rtsp:///x',
    'rtsp://cam/a b',
    'rtsp://cam:port/x',
    'http://cam/x',
    'file:',
    'file:clip.mp4',
    'file:/clips/',
    'file:/a\nb',
    'file:/a\0b',
    'sim:',
    'sim:cam.sock',
    `sim:/${'x'.repeat(107)}`,
    'concat:/a|/b',
    'FILE:/a',
  ])('refuses %j', (text) => {
    expect(() => parseSource(text)).toThrow(expect.objectContaining({ code: ErrorCode.BadCameraSource }));
  });

  it.each([
    'rtsp://admin:hunter2@cam:port/x',
    'rtsp://admin:hun/ter2@cam/x',
    'rtsp:admin:hunter2@cam/x',
    'RTSP://admin:hunter2@cam /x',
    'rtsp://admin:hunter2@',
  ])('keeps the password out of the error for %j', (text) => {
    let thrown: KerbError | undefined;
    try {
      parseSource(text);
    } catch (error) {
      thrown = error as KerbError;
    }
    expect(thrown?.code).toBe(ErrorCode.BadCameraSource);
    const shown = `${thrown?.message} ${thrown?.stack} ${JSON.stringify(thrown?.context)}`;
    expect(shown).not.toMatch(/hunter2|ter2|admin/);
  });
});

describe('redaction', () => {
  it('shows a source without user, password and query', () => {
    const shown = describeSource(parseSource('rtsp://admin:p@ss@cam:554/live?token=s3cret'));
    expect(shown).toBe('rtsp://***@cam:554/live?***');
    expect(describeSource(parseSource('rtsp://cam/live'))).toBe('rtsp://cam/live');
    expect(describeSource(parseSource('v4l2:/dev/video0'))).toBe('v4l2:/dev/video0');
  });

  it('takes credentials out of what ffmpeg prints', () => {
    const source = parseSource('rtsp://admin:p%40ss@cam/live?token=s3cret');
    const hide = redactorOf(source);
    for (const line of [
      'rtsp://admin:p%40ss@cam/live?token=s3cret: Connection refused',
      '[rtsp @ 0x5] auth with p@ss failed',
      '[rtsp @ 0x5] auth with p%40ss failed',
      '[tcp @ 0x5] admin:p@ss',
      'DESCRIBE /live?token=s3cret failed',
    ]) {
      expect(hide(line)).not.toMatch(/p@ss|p%40ss|s3cret/);
    }
    expect(hide('rtsp://admin:p%40ss@cam/live: 401 Unauthorized')).toBe('rtsp://***@cam/live: 401 Unauthorized');
  });

  it('leaves other text alone', () => {
    expect(redact('/dev/video0: No such file or directory')).toBe('/dev/video0: No such file or directory');
    expect(redactorOf(parseSource('rtsp://cam/live'))('a: b')).toBe('a: b');
  });
});

describe('inputArguments', () => {
  it('never lets a source become an option, and closes every input with white lists', () => {
    for (const text of ['v4l2:/dev/video0?fps=5', 'rtsp://-i@-cam/-f', 'file:/-y', 'sim:/-y']) {
      const args = inputArguments(parseSource(text));
      expect(args.at(-2)).toBe('-i');
      expect(args.at(-1)).not.toMatch(/^-/);
      expect(args).toContain('-protocol_whitelist');
    }
  });

  it('names the protocol, so that no path is read as another one', () => {
    expect(inputArguments(parseSource('file:/concat:/x')).at(-1)).toBe('file:/concat:/x');
    expect(inputArguments(parseSource('sim:/a?b')).at(-1)).toBe('unix:/a?b');
  });

  it('passes size, rate and format to a V4L2 device', () => {
    const args = inputArguments(parseSource('v4l2:/dev/video2?size=640x480&fps=30&format=mjpeg')).join(' ');
    expect(args).toContain('-input_format mjpeg -framerate 30 -video_size 640x480');
  });
});
