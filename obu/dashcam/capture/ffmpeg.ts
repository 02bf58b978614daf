import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { ErrorCode, isErrno, KerbError } from '../../../shared/base/errors.ts';

/** `-fps_mode` came with 5.1. */
const OLDEST = [5, 1] as const;
const STDERR_LINE = 1000;
/**
 * How long a process gets to end by itself after SIGTERM before it is killed; closing an RTSP session takes a while.
 */
const TERM_GRACE_MS = 1000;
/** How long a process gets to write out what it has after the end of its input. */
const FINISH_GRACE_MS = 3000;

/** No report file, no proxy, no terminal colours: ffmpeg does what its arguments say and nothing else. */
const ENVIRONMENT = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', AV_LOG_FORCE_NOCOLOR: '1' };

/** Arguments that every ffmpeg of a camera begins with. */
export const QUIET = ['-hide_banner', '-nostats', '-loglevel', 'error'] as const;

export function cancelled(): KerbError {
  return new KerbError(ErrorCode.Cancelled, 'camera was stopped while it was starting');
}

function missing(path: string, why: string): KerbError {
  const advice = 'install it with: apt-get install ffmpeg';
  return new KerbError(ErrorCode.CameraUnavailable, `ffmpeg (${path}) ${why}; ${advice}`, { path });
}

/**
 * One ffmpeg process. It is over when `onExit` has been called: the process is reaped and its pipes are closed.
 * Never hands out Node's own spawn errors: they carry the arguments, and those may hold a password.
 */
export class FfmpegProcess {
  readonly #path: string;
  readonly #args: readonly string[];
  readonly #redact: (text: string) => string;
  #child: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
  #killTimer: NodeJS.Timeout | undefined;
  #done = Promise.resolve();

  constructor(path: string, args: readonly string[], redact: (text: string) => string) {
    this.#path = path;
    this.#args = args;
    this.#redact = redact;
  }

  /** Starts it. `onExit` is called once, with the sentence that says why it ended. */
  start(onData: (chunk: Buffer) => void, onExit: (reason: string) => void): void {
    const child = spawn(this.#path, this.#args, { stdio: ['pipe', 'pipe', 'pipe'], env: ENVIRONMENT });
    let spawnError = '';
    this.#done = new Promise((resolve) => {
      const over = (reason: string) => {
        clearTimeout(this.#killTimer);
        this.#child = undefined;
        onExit(reason);
        resolve();
      };
      child.on('error', (error) => {
        spawnError = isErrno(error, 'ENOENT')
          ? missing(this.#path, 'is not there').message
          : `ffmpeg (${this.#path}) cannot be run: ${isErrno(error) ? error.code : 'unknown error'}`;
        if (child.stdout === undefined) over(spawnError);
      });
      // Out of file descriptors, Node makes no pipes, and `close` never comes.
      if (child.stdout === undefined) return;
      this.#child = child;
      const errorOutput = new ErrorOutput();
      child.stdout.on('data', onData);
      child.stderr.setEncoding('utf8').on('data', (text: string) => errorOutput.push(text));
      // Data written to a process that has ended is lost with it; `close` reports the end.
      child.stdin.on('error', () => {});
      child.on('close', (code, signal) => {
        const end = signal === null ? `ffmpeg ended with exit code ${code}` : `ffmpeg was ended by ${signal}`;
        over(spawnError || this.#redact(errorOutput.reason()) || end);
      });
    });
  }

  /** Its standard input, while it runs. */
  get stdin(): Writable | undefined {
    return this.#child?.stdin;
  }

  /** Ends its input and waits until it has written what it has and is gone. Safe to call twice. */
  async finish(): Promise<void> {
    if (this.#child !== undefined && this.#killTimer === undefined) {
      this.#killTimer = setTimeout(() => this.kill(), FINISH_GRACE_MS);
      this.#child.stdin.end();
    }
    await this.#done;
  }

  /** Ends it, kindly at first, and waits until it is gone. Safe to call twice. */
  async stop(): Promise<void> {
    if (this.#child !== undefined && this.#killTimer === undefined) {
      this.#killTimer = setTimeout(() => this.kill(), TERM_GRACE_MS);
      this.#child.stdin.destroy();
      this.#child.kill('SIGTERM');
    }
    await this.#done;
  }

  /** Ends it at once. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }
}

/** Keeps the last lines of standard error of ffmpeg, and makes one sentence of them. */
export class ErrorOutput {
  #rest = '';
  #last = '';
  /** The last line of a component, `[rtsp @ 0x55…] method DESCRIBE failed`, without its address. */
  #component = '';
  /** Since version 6 the cause and the input that it is about come in lines of their own. */
  #cause = '';
  #input = '';

  push(text: string): void {
    const lines = (this.#rest + text).split(/[\r\n]+/);
    this.#rest = lines.pop()!.slice(0, STDERR_LINE);
    for (const line of lines) this.#take(line);
  }

  #take(raw: string): void {
    const line = raw.trim().slice(0, STDERR_LINE);
    // About the line before it, which has been taken.
    if (/^Last message repeated \d+ times$/.test(line)) return;
    const component = /^\[([^\]@]+) @ [^\]]*\]\s*(.+)$/.exec(line);
    if (component !== null) {
      const cause = /^(?:in|out)#/.test(component[1]!) ? /^Error opening \w+: (.+)$/.exec(component[2]!) : null;
      if (cause === null) this.#component = `${component[1]}: ${component[2]}`;
      else this.#cause = cause[1]!;
      return;
    }
    this.#input = /^Error opening (?:input|output) file (.+?)\.?$/.exec(line)?.[1] ?? this.#input;
    // The lines that ffmpeg prints after the cause carry no information, in all its versions.
    if (!/^(Error (opening|closing|writing)|Conversion failed|Exiting|Cannot determine format)/.test(line) && line) {
      this.#last = line;
    }
  }

  /** The last line, and the component's own words where they add something; empty when there was nothing. */
  reason(): string {
    this.#take(this.#rest);
    this.#rest = '';
    // As older versions say it: the input, and the cause.
    const last = this.#last || [this.#input, this.#cause].filter(Boolean).join(': ');
    if (this.#cause === '' && this.#last === '') return this.#component;
    const cause = last.slice(last.lastIndexOf(': ') + 2);
    return this.#component === '' || this.#component.includes(cause) ? last : `${last} (${this.#component})`;
  }
}

/** Programs that were found new enough, by `fileAt`: to start ffmpeg takes a fifth of a second of a core. */
const checked = new Set<string>();
const MAX_CHECKED = 16;

/** Names the program at a path: another one there, or a newer one, has another name. Undefined where there is none. */
function fileAt(path: string): string | undefined {
  const folders = path.includes('/') ? [''] : ENVIRONMENT.PATH.split(delimiter);
  for (const folder of folders) {
    try {
      const file = statSync(join(folder, path), { bigint: true });
      if (file.isFile()) return [path, file.dev, file.ino, file.size, file.mtimeNs].join(' ');
    } catch {
      // Not in this folder: to run it says why.
    }
  }
  return undefined;
}

/**
 * Checks that ffmpeg is there and new enough; once for each program, however many cameras use it.
 * @throws KerbError CameraUnavailable, or Cancelled when `signal` fires first
 */
export async function checkFfmpeg(path: string, signal: AbortSignal): Promise<void> {
  const file = fileAt(path);
  if (file !== undefined && checked.has(file)) return;
  await checkVersion(path, signal);
  if (file !== undefined && checked.size < MAX_CHECKED) checked.add(file);
}

async function checkVersion(path: string, signal: AbortSignal): Promise<void> {
  const process = new FfmpegProcess(path, ['-version'], (text) => text);
  signal.addEventListener('abort', () => process.kill(), { once: true });
  let banner = '';
  const end = await new Promise<string>((resolve) => {
    process.start((chunk) => {
      if (banner.length < STDERR_LINE) banner += chunk.toString('latin1');
    }, resolve);
  });
  if (signal.aborted) throw cancelled();
  const version = /^ffmpeg version n?(\d+)\.(\d+)/.exec(banner);
  if (version === null) {
    // Builds from git have no number and are newer than any that is too old.
    if (banner.startsWith('ffmpeg version')) return;
    if (end.startsWith(`ffmpeg (${path})`)) throw new KerbError(ErrorCode.CameraUnavailable, end, { path });
    throw missing(path, 'does not tell its version as ffmpeg does');
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw missing(path, `is version ${major}.${minor}, and ${OLDEST.join('.')} is the oldest that works`);
  }
}
