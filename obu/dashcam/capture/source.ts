import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';

/**
 * The source of a camera's pictures, checked. Print a source only with `describeSource`: an RTSP URL holds a password.
 */
export type CameraSource =
  | {
      readonly kind: 'v4l2';
      readonly device: string;
      readonly width?: number;
      readonly height?: number;
      readonly fps?: number;
      readonly pixelFormat?: string;
    }
  | { readonly kind: 'rtsp'; readonly url: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'sim'; readonly socketPath: string };

const FORMS = 'v4l2:/dev/videoN[?size=WxH&fps=N&format=mjpeg], rtsp://HOST/PATH, file:/PATH or sim:/PATH.sock';

/** sun_path of unix(7) holds 108 bytes with the terminating zero. */
const MAX_SOCKET_PATH = 107;

/**
 * Containers and raw streams that hold their own pictures. Playlists (hls, concat, dash, sdp …) are left out, because
 * they name other files: whoever can replace a clip must not be able to read the OBU's disk with it.
 */
const FILE_FORMATS =
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,h264,hevc,mjpeg,mpjpeg,ivf,yuv4mpegpipe';

/**
 * Reads the one-string form of a camera source.
 * @throws KerbError BadCameraSource, with no credentials in it
 */
export function parseSource(text: string): CameraSource {
  if (/[\x00-\x1f\x7f]/.test(text)) throw badSource(text, 'holds a control character');
  if (/^rtsps?:/i.test(text)) return parseRtsp(text);
  const colon = text.indexOf(':');
  const scheme = colon < 0 ? '' : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  switch (scheme) {
    case 'v4l2':
      return parseV4l2(text, rest);
    case 'file':
      if (!rest.startsWith('/') || rest.endsWith('/')) throw badSource(text, 'needs the absolute path of a file');
      return { kind: 'file', path: rest };
    case 'sim':
      if (!rest.startsWith('/') || rest.endsWith('/')) throw badSource(text, 'needs the absolute path of a socket');
      if (Buffer.byteLength(rest) > MAX_SOCKET_PATH) {
        throw badSource(text, `is a socket path of more than ${MAX_SOCKET_PATH} bytes`);
      }
      return { kind: 'sim', socketPath: rest };
    default:
      throw badSource(text, `is not valid: it must be ${FORMS}`);
  }
}

function parseRtsp(text: string): CameraSource {
  if (/\s/.test(text)) throw badSource(text, 'holds a space');
  if (!/^rtsps?:\/\//.test(text)) throw badSource(text, 'needs the form rtsp://HOST/PATH');
  const url = URL.parse(text);
  if (url === null)
    throw badSource(text, 'is not a valid URL: special characters in user and password must be percent-encoded');
  if (url.hostname === '') throw badSource(text, 'names no host');
  return { kind: 'rtsp', url: text };
}

function parseV4l2(text: string, rest: string): CameraSource {
  const question = rest.indexOf('?');
  const device = question < 0 ? rest : rest.slice(0, question);
  if (!/^\/dev\/[\w./:+-]+$/.test(device) || device.includes('..')) {
    throw badSource(text, 'needs a device such as /dev/video0');
  }
  const source: { kind: 'v4l2'; device: string; width?: number; height?: number; fps?: number; pixelFormat?: string } =
    { kind: 'v4l2', device };
  for (const [key, value] of new URLSearchParams(question < 0 ? '' : rest.slice(question + 1))) {
    if (key === 'size') {
      const size = /^(\d{2,5})x(\d{2,5})$/.exec(value);
      if (size === null) throw badSource(text, `has size "${value}", which is not like 1280x720`);
      source.width = Number(size[1]);
      source.height = Number(size[2]);
    } else if (key === 'fps') {
      if (!/^\d{1,3}(\.\d{1,3})?$/.test(value) || Number(value) <= 0) throw badSource(text, `has fps "${value}"`);
      source.fps = Number(value);
    } else if (key === 'format') {
      if (!/^[a-z0-9]{2,16}$/.test(value)) throw badSource(text, `has format "${value}", which is not like mjpeg`);
      source.pixelFormat = value;
    } else {
      throw badSource(text, `has the unknown option "${key}"; known are size, fps and format`);
    }
  }
  return source;
}

function badSource(text: string, problem: string): KerbError {
  const shown = redact(text);
  return new KerbError(ErrorCode.BadCameraSource, `camera source "${shown}" ${problem}`, { source: shown });
}

/** The source for a person: what was written, without user, password and query of an RTSP URL. */
export function describeSource(source: CameraSource): string {
  switch (source.kind) {
    case 'v4l2':
      return `v4l2:${source.device}`;
    case 'rtsp':
      return redact(source.url);
    case 'file':
      return `file:${source.path}`;
    case 'sim':
      return `sim:${source.socketPath}`;
  }
}

/**
 * Takes user, password and query out of every rtsp URL in a text. Errs on the side of taking too much: all up to the
 * last `@` before a space, because a password may itself hold `@`, `/` and `?`.
 */
export function redact(text: string): string {
  return text.replace(/(rtsps?:[/\\]*)\S*@/gi, '$1***@').replace(/(rtsps?:[^\s?"]*)\?[^\s"]+/gi, '$1?***');
}

/** As `redact`, and whatever else of this source's credentials ffmpeg may print on its own. */
export function redactorOf(source: CameraSource): (text: string) => string {
  if (source.kind !== 'rtsp') return redact;
  const secrets = new Set<string>();
  const authority = /^rtsps?:\/\/([^/?#]*)@/i.exec(source.url)?.[1] ?? '';
  const colon = authority.indexOf(':');
  const query = /\?(.*)$/.exec(source.url)?.[1] ?? '';
  for (const part of [authority, colon < 0 ? '' : authority.slice(colon + 1), query]) {
    secrets.add(part);
    secrets.add(decodeLeniently(part));
  }
  secrets.delete('');
  // Longest first, so that no part of a longer secret is left standing.
  const ordered = [...secrets].sort((a, b) => b.length - a.length);
  return (text) => ordered.reduce((left, secret) => left.replaceAll(secret, '***'), redact(text));
}

function decodeLeniently(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % is legal in what people type
  }
}

/**
 * ffmpeg's arguments that open the source, up to and with `-i`. Each input names its protocol and carries white lists,
 * so that neither a path nor the content of a file or stream makes ffmpeg open anything else. The URL of an RTSP camera
 * is among them, password and all: ffmpeg takes it no other way, so users of the OBU itself can see it in the process
 * list.
 */
export function inputArguments(source: CameraSource): string[] {
  switch (source.kind) {
    case 'v4l2': {
      const wanted: string[] = [];
      if (source.pixelFormat !== undefined) wanted.push('-input_format', source.pixelFormat);
      if (source.fps !== undefined) wanted.push('-framerate', String(source.fps));
      if (source.width !== undefined) wanted.push('-video_size', `${source.width}x${source.height}`);
      const live = ['-fflags', 'nobuffer', '-flags', 'low_delay'];
      return ['-f', 'video4linux2', ...live, ...wanted, '-protocol_whitelist', 'file', '-i', source.device];
    }
    case 'rtsp': {
      // TCP, because a lost UDP packet is half a second of broken pictures. `timeout` is the socket's, in microseconds.
      const protocols = ['-protocol_whitelist', 'rtp,udp,tcp,tls'];
      const live = ['-fflags', 'nobuffer', '-flags', 'low_delay', '-analyzeduration', '1000000'];
      return ['-f', 'rtsp', '-rtsp_transport', 'tcp', '-timeout', '5000000', ...live, ...protocols, '-i', source.url];
    }
    case 'file': {
      const lists = ['-protocol_whitelist', 'file', '-format_whitelist', FILE_FORMATS];
      return ['-re', '-stream_loop', '-1', ...lists, '-i', `file:${source.path}`];
    }
    case 'sim': {
      // The header of YUV4MPEG2 says all; probing would only hold the first pictures back.
      const fast = ['-probesize', '32', '-analyzeduration', '0'];
      return ['-f', 'yuv4mpegpipe', ...fast, '-protocol_whitelist', 'unix', '-i', `unix:${source.socketPath}`];
    }
  }
}
