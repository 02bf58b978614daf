/**
 * Lines in a file that is rotated by size. Writing is never waited for: what the disk does not take at once waits in memory, up
 * to a limit, and what goes beyond that is counted.
 */
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../shared/base/errors.ts';

export interface AuditFileOptions {
  readonly path: string;
  /** A file that is longer is renamed to `PATH.1`, and so on. */
  readonly maxBytes: number;
  /** How many of those are kept. */
  readonly keep: number;
  /** Gives the line that says how many lines could not be written. */
  readonly lostLine: (count: number) => string;
  /** It cannot be written, or can again (empty); told once for each. */
  readonly onFault: (reason: string) => void;
  /** Opens the file; another one in tests, where a disk is to be full. */
  readonly open?: (path: string) => Promise<FileHandle>;
  /** Until it is tried again after a fault, in milliseconds. */
  readonly retryMs?: number;
}

/** Characters that may wait for the disk. */
const MAX_WAITING = 8 * 1024 * 1024;
/** Written at once, and no more often than this, in milliseconds. */
const CHUNK = 1024 * 1024;
const PAUSE_MS = 20;
const RETRY_MS = 1000;

export class AuditFile {
  readonly #options: AuditFileOptions;
  #handle: FileHandle | undefined;
  #size = 0;
  #inode = 0;
  #waiting: string[] = [];
  #waitingLength = 0;
  #lost = 0;
  /** Lost since the last line that said so. */
  #unsaid = 0;
  #fault = '';
  #writing: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(options: AuditFileOptions) {
    this.#options = options;
  }

  /** Lines that could not be written. */
  get lost(): number {
    return this.#lost;
  }

  /** @throws KerbError BadConfig when the file cannot be written */
  async start(): Promise<void> {
    const { path } = this.#options;
    try {
      await this.#open();
    } catch (error) {
      const why = isErrno(error, 'ENOENT') ? 'its folder does not exist' : messageOf(error);
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot write the audit log ${path}: ${why}`,
        { path },
        { cause: error },
      );
    }
  }

  /** A line, without its end. Returns at once. */
  add(line: string): void {
    if (this.#waitingLength + line.length > MAX_WAITING || this.#stop.signal.aborted) {
      this.#lost++;
      this.#unsaid++;
      return;
    }
    this.#waiting.push(`${line}\n`);
    this.#waitingLength += line.length + 1;
    this.#writing ??= this.#writeAll();
  }

  /** Writes what waits. What the disk does not take then is lost, and counted. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
    if (this.#waiting.length > 0 || this.#unsaid > 0) await this.#writeOnce().catch(() => {});
    this.#lost += this.#waiting.length;
    this.#waiting = [];
    await this.#handle?.close().catch(() => {});
    this.#handle = undefined;
  }

  /** Until nothing waits, or the stop, which writes the rest itself. */
  async #writeAll(): Promise<void> {
    const { retryMs = RETRY_MS } = this.#options;
    const { signal } = this.#stop;
    // Lines that come in the same turn are written together.
    let pauseMs = 0;
    while ((this.#waiting.length > 0 || this.#unsaid > 0) && !signal.aborted) {
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) break;
      try {
        await this.#writeOnce();
        this.#say('');
        pauseMs = PAUSE_MS;
      } catch (error) {
        this.#say(messageOf(error));
        pauseMs = retryMs;
      }
    }
    this.#writing = undefined;
  }

  /** Writes all that waits, chunk by chunk. @throws errors of the file system; then the rest still waits */
  async #writeOnce(): Promise<void> {
    await this.#ready();
    while (this.#waiting.length > 0) {
      const { count, text } = this.#nextChunk();
      await this.#append(text);
      this.#waiting.splice(0, count);
      this.#waitingLength -= text.length;
    }
    if (this.#unsaid === 0) return;
    const unsaid = this.#unsaid;
    await this.#append(`${this.#options.lostLine(unsaid)}\n`);
    this.#unsaid -= unsaid;
  }

  #nextChunk(): { readonly count: number; readonly text: string } {
    let count = 0;
    let length = 0;
    while (count < this.#waiting.length && (count === 0 || length + this.#waiting[count]!.length <= CHUNK)) {
      length += this.#waiting[count]!.length;
      count++;
    }
    return { count, text: this.#waiting.slice(0, count).join('') };
  }

  /** All of it or nothing: half a line would make the next one unreadable. */
  async #append(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    if (this.#size > 0 && this.#size + bytes.length > this.#options.maxBytes) await this.#rotate();
    const handle = this.#handle!;
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, at);
        at += bytesWritten;
      }
    } catch (error) {
      await handle.truncate(this.#size).catch(() => {});
      throw error;
    }
    this.#size += bytes.length;
  }

  /** Opens the file anew when another process, such as logrotate, has moved it away. */
  async #ready(): Promise<void> {
    if (this.#handle !== undefined) {
      const found = await stat(this.#options.path).catch(() => undefined);
      if (found?.ino === this.#inode) return;
      await this.#close();
    }
    await this.#open();
  }

  async #rotate(): Promise<void> {
    const { path, keep } = this.#options;
    await this.#close();
    if (keep === 0) await rm(path, { force: true });
    for (let number = keep; number > 0; number--) {
      const from = number === 1 ? path : `${path}.${number - 1}`;
      await rename(from, `${path}.${number}`).catch((error: unknown) => {
        if (!isErrno(error, 'ENOENT')) throw error;
      });
    }
    await this.#open();
  }

  async #open(): Promise<void> {
    const { path, open: openFile = openAppending } = this.#options;
    const handle = await openFile(path);
    try {
      const found = await handle.stat();
      if (!found.isFile()) throw new Error('it is not a regular file');
      // One that was there before may be open to others.
      await handle.chmod(0o600);
      this.#size = found.size;
      this.#inode = found.ino;
      this.#handle = handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  #say(fault: string): void {
    if (fault === this.#fault) return;
    this.#fault = fault;
    this.#options.onFault(fault);
  }
}

function openAppending(path: string): Promise<FileHandle> {
  return open(path, 'a', 0o600);
}
