import { closeSync, openSync, readSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../../shared/base/errors.ts';
import { syncToDisk } from '../../../shared/host/atomic-write.ts';
import { wholeLength } from './mp4-boxes.ts';

export interface Retention {
  /** Bytes of all recordings that are not locked. */
  readonly maxBytes: number;
  /** Milliseconds that a recording that is not locked is kept. */
  readonly maxAgeMs: number;
  /** Bytes of locked recordings. */
  readonly maxLockedBytes: number;
}

/**
 * A file of the recording. Times in milliseconds of the steady clock, so that a clock that is set makes nothing old or young;
 * `endMs` is that of its last whole fragment. Names are by the wall clock.
 */
export interface Segment {
  readonly name: string;
  readonly locked: boolean;
  readonly startMs: number;
  readonly endMs: number;
  readonly bytes: number;
}

const LOCKED = 'locked';
const namePattern = /^(\d{4})-(\d\d)-(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{3})Z\.mp4$/;

/** `2026-11-23T054629.123Z.mp4`: sorted by name is sorted by time, and no colon, which other systems' disks refuse. */
function nameOf(startMs: number): string {
  return `${new Date(startMs).toISOString().replaceAll(':', '')}.mp4`;
}

function startOf(name: string): number | undefined {
  const parts = namePattern.exec(name);
  if (parts === null) return undefined;
  const [year, month, day, hour, minute, second, ms] = parts.slice(1).map(Number) as [
    ...[number, number, number, number, number, number, number],
  ];
  return Date.UTC(year, month - 1, day, hour, minute, second, ms);
}

interface OpenSegment {
  segment: Segment;
  readonly file: FileHandle;
}

/**
 * The files of one camera's recording. What `append` has returned from is on the disk, whatever happens to the power
 * then. A lock moves a file into the folder `locked`, at once and in one step, so that it cannot be forgotten.
 *
 * Its calls must not overlap: the recorder makes them one after another.
 */
export class RecordingFolder {
  readonly #folder: string;
  readonly #retention: Retention;
  /** Oldest first; without the one that is being written. */
  #segments: Segment[] = [];
  #open: OpenSegment | undefined;
  readonly #steadyOf: (wallMs: number) => number;

  /** @param steadyOf puts what earlier runs have stamped on the clock of this one */
  constructor(folder: string, retention: Retention, steadyOf: (wallMs: number) => number = (ms) => ms) {
    this.#steadyOf = steadyOf;
    this.#folder = folder;
    this.#retention = retention;
  }

  /** All files, oldest first. */
  get segments(): readonly Segment[] {
    return this.#open === undefined ? this.#segments : [...this.#segments, this.#open.segment];
  }

  /**
   * Makes the folder, finds what earlier runs left in it, and cuts off what a power cut left half written.
   * @throws errors of the file system
   */
  async start(): Promise<void> {
    await mkdir(join(this.#folder, LOCKED), { recursive: true, mode: 0o700 });
    const found: Segment[] = [];
    for (const locked of [false, true]) {
      for (const name of await readdir(this.#path({ name: '', locked }))) {
        const startMs = startOf(name);
        if (startMs === undefined) continue;
        const segment = await this.#recover(name, locked, startMs);
        if (segment !== undefined) found.push(segment);
      }
    }
    this.#segments = found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async stop(): Promise<void> {
    await this.#close();
  }

  /**
   * Ends the present file and begins another one.
   * @param wallMs what it is named after
   * @throws errors of the file system, ENOSPC when the disk is full
   */
  async begin(head: Buffer, startMs: number, wallMs: number = startMs): Promise<void> {
    await this.#close();
    let free = Math.round(wallMs);
    const taken = new Set(this.#segments.map(({ name }) => name));
    while (taken.has(nameOf(free))) free++; // a clock that was set back
    const segment: Segment = { name: nameOf(free), locked: false, startMs, endMs: startMs, bytes: 0 };
    const file = await open(this.#path(segment), 'wx', 0o600);
    this.#open = { segment, file };
    await this.#syncFolder(false);
    await this.#write(head, startMs);
  }

  /**
   * Adds a fragment to the present file and puts it on the disk.
   * @param endMs when it was complete
   * @throws errors of the file system; the file is whole up to the fragment before
   */
  async append(fragment: Buffer, endMs: number): Promise<void> {
    await this.#write(fragment, endMs);
  }

  /** Locks every file that has something of this time, the present one included. */
  async lock(fromMs: number, toMs: number): Promise<void> {
    for (const segment of this.segments) {
      if (segment.locked || segment.startMs > toMs || segment.endMs < fromMs) continue;
      const locked = { ...segment, locked: true };
      await rename(this.#path(segment), this.#path(locked));
      this.#replace(segment, locked);
      await this.#syncFolder(true);
    }
  }

  /** Removes what is too old or too much, oldest first, never the present file. Returns what was removed. */
  async clean(nowMs: number): Promise<Segment[]> {
    const { maxBytes, maxAgeMs, maxLockedBytes } = this.#retention;
    const removed: Segment[] = [];
    for (const locked of [false, true]) {
      const limit = locked ? maxLockedBytes : maxBytes;
      let bytes = this.segments.filter((one) => one.locked === locked).reduce((sum, one) => sum + one.bytes, 0);
      for (const segment of this.#segments.filter((one) => one.locked === locked)) {
        const tooOld = !locked && nowMs - segment.endMs > maxAgeMs;
        if (!tooOld && bytes <= limit) continue;
        await this.#remove(segment);
        bytes -= segment.bytes;
        removed.push(segment);
      }
    }
    return removed;
  }

  /** Removes the oldest file that is not locked, to make room; undefined when there is none. */
  async removeOldest(): Promise<Segment | undefined> {
    const oldest = this.#segments.find(({ locked }) => !locked);
    if (oldest !== undefined) await this.#remove(oldest);
    return oldest;
  }

  #path({ name, locked }: Pick<Segment, 'name' | 'locked'>): string {
    return locked ? join(this.#folder, LOCKED, name) : join(this.#folder, name);
  }

  async #recover(name: string, locked: boolean, startMs: number): Promise<Segment | undefined> {
    const path = this.#path({ name, locked });
    const { size, mtimeMs } = await stat(path);
    const fd = openSync(path, 'r');
    let bytes: number;
    try {
      bytes = wholeLength((offset, length) => readAt(fd, offset, length), size);
    } finally {
      closeSync(fd);
    }
    if (bytes === 0) {
      await unlink(path); // not even one second of it was written
      return undefined;
    }
    if (bytes < size) await truncate(path, bytes);
    const endMs = this.#steadyOf(Math.max(startMs, mtimeMs));
    return { name, locked, startMs: Math.min(this.#steadyOf(startMs), endMs), endMs, bytes };
  }

  async #write(bytes: Buffer, endMs: number): Promise<void> {
    const present = this.#open;
    if (present === undefined) throw new Error('no file of the recording is open');
    const from = present.segment.bytes;
    try {
      let written = 0;
      while (written < bytes.length) {
        written += (await present.file.write(bytes, written, bytes.length - written, from + written)).bytesWritten;
      }
      await present.file.datasync();
    } catch (error) {
      await present.file.truncate(from).catch(() => {}); // the first error is the one that counts
      throw error;
    }
    present.segment = { ...present.segment, bytes: from + bytes.length, endMs };
  }

  async #close(): Promise<void> {
    const present = this.#open;
    this.#open = undefined;
    if (present === undefined) return;
    await present.file.close();
    // A head alone plays nothing.
    if (present.segment.endMs > present.segment.startMs) this.#segments.push(present.segment);
    else await unlink(this.#path(present.segment));
  }

  async #remove(segment: Segment): Promise<void> {
    try {
      await unlink(this.#path(segment));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error; // a person took it away
    }
    this.#segments = this.#segments.filter((one) => one !== segment);
  }

  #replace(before: Segment, after: Segment): void {
    if (this.#open?.segment === before) this.#open.segment = after;
    else this.#segments = this.#segments.map((one) => (one === before ? after : one));
  }

  /** A new name is on the disk only when its folder is. */
  async #syncFolder(both: boolean): Promise<void> {
    for (const path of both ? [this.#folder, join(this.#folder, LOCKED)] : [this.#folder]) {
      await syncToDisk(path);
    }
  }
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}
