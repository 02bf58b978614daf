import { readlinkSync, readSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { ErrorCode, KerbError, messageOf } from '../../../shared/base/errors.ts';

/** Copying this much to or from a memfd takes about 0.1 ms; more than this goes to Node's thread pool. */
const SYNC_COPY_MAX = 1024 * 1024;

/**
 * The memfds of a tender, through which payloads go that are too large for the socket: one copy in, one copy out.
 * They are closed only after what is under way on them, so that a copy never hits a number that was given away again.
 */
export class TenderMemory {
  readonly #input: FileHandle;
  readonly #output: FileHandle;

  private constructor(input: FileHandle, output: FileHandle) {
    this.#input = input;
    this.#output = output;
  }

  /**
   * Possible only until the tender has confined itself: from then on it is not dumpable, and its /proc entry closed.
   * @throws KerbError TenderUnavailable, also when the process is gone and its number names another one by now
   */
  static async open(pid: number, inputFd: number, outputFd: number): Promise<TenderMemory> {
    const input = await openMemfd(`/proc/${pid}/fd/${inputFd}`, 'r+');
    try {
      return new TenderMemory(input, await openMemfd(`/proc/${pid}/fd/${outputFd}`, 'r'));
    } catch (error) {
      await input.close();
      throw error;
    }
  }

  /** @throws errno errors */
  async write(input: Uint8Array): Promise<void> {
    const { length } = input;
    for (let at = 0; at < length; ) {
      at +=
        length > SYNC_COPY_MAX
          ? (await this.#input.write(input, at, length - at, at)).bytesWritten
          : writeSync(this.#input.fd, input, at, length - at, at);
    }
  }

  /** The first `size` bytes of the output. @throws errno errors */
  async read(size: number): Promise<Buffer> {
    const output = Buffer.allocUnsafeSlow(size);
    for (let at = 0; at < size; ) {
      const got =
        size > SYNC_COPY_MAX
          ? (await this.#output.read(output, at, size - at, at)).bytesRead
          : readSync(this.#output.fd, output, at, size - at, at);
      if (got === 0) throw new Error('it is shorter than that');
      at += got;
    }
    return output;
  }

  async close(): Promise<void> {
    await Promise.all([this.#input.close(), this.#output.close()]);
  }
}

async function openMemfd(path: string, flags: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, flags);
  } catch (cause) {
    const reason = `its memory cannot be opened: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.TenderUnavailable, reason, { path }, { cause });
  }
  if (readlinkSync(`/proc/self/fd/${file.fd}`).startsWith('/memfd:kerb-')) return file;
  await file.close();
  throw new KerbError(ErrorCode.TenderUnavailable, `its memory cannot be opened: ${path} is something else`, { path });
}
