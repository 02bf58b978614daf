import type { RecordingStatus } from '../../../shared/api/status.ts';
import { steadyMs, steadyOf, wallOf } from '../../../shared/base/clock.ts';
import { isErrno, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { RawPicture } from '../capture/converter.ts';
import { RateCap } from '../capture/rate-cap.ts';
import { type Codec, Encoder } from './encoder.ts';
import { RecordingFolder, type Retention, type Segment } from './recording-folder.ts';

export interface RecordingOptions {
  /** Made when missing. */
  readonly folder: string;
  readonly codec: Codec;
  /** Pictures per second at most. */
  readonly fps: number;
  readonly retention: Retention;
}

/** A camera that hands out its pictures as they come. */
export interface RawCamera {
  readonly name: string;
  /** The listener must return at once, and returns whether it keeps the planes. Returns the function that ends it. */
  watch(listener: (picture: RawPicture) => boolean): () => void;
}

/** A file holds this much: what a lock keeps too much at either end, and what a damaged disk block costs at most. */
const SEGMENT_MS = 30_000;
/** Fragments (about seconds) that may wait for a slow disk; older ones are lost, and counted. */
const MAX_QUEUED = 20;
/** After the disk did not take anything. */
const DISK_RETRY_MS = 5000;

type Work =
  | { readonly kind: 'fragment'; readonly head: Buffer; readonly bytes: Buffer; readonly endMs: number }
  | { readonly kind: 'lock'; readonly fromMs: number; readonly toMs: number };

/**
 * Records one camera for as long as it runs: in fragments of one second, each on the disk before the next one, in files
 * of half a minute, which `retention` limits and `lock` keeps. It is one more consumer of the camera and holds up
 * nobody.
 */
export class Recorder {
  readonly #camera: RawCamera;
  readonly #options: RecordingOptions;
  readonly #log: Logger;
  readonly #folder: RecordingFolder;
  readonly #encoder: Encoder;
  readonly #cap: RateCap;
  #unsubscribe: (() => void) | undefined;
  /** True once the folder was read. */
  #prepared = false;
  #head: Buffer = Buffer.alloc(0);
  /** Head of the file that is open. */
  #openHead: Buffer | undefined;
  #openedAtMs = 0;
  #queue: Work[] = [];
  #working: Promise<void> | undefined;
  #lostFragments = 0;
  #diskFailure: string | undefined;
  #retryAtMs = 0;

  constructor(camera: RawCamera, options: RecordingOptions & { readonly ffmpegPath?: string; readonly log: Logger }) {
    this.#camera = camera;
    this.#options = options;
    this.#log = options.log.child({ camera: camera.name });
    this.#folder = new RecordingFolder(options.folder, options.retention, steadyOf);
    this.#cap = new RateCap(options.fps);
    const { ffmpegPath = 'ffmpeg', codec } = options;
    this.#encoder = new Encoder(
      { ffmpegPath, codec, log: this.#log },
      {
        head: (head) => {
          this.#head = head;
        },
        fragment: (bytes) => this.#enqueue({ kind: 'fragment', head: this.#head, bytes, endMs: steadyMs() }),
      },
    );
  }

  /** Begins to record. A folder that cannot be used yet (a card that is missing) is reported and tried again. */
  start(): void {
    this.#unsubscribe ??= this.#camera.watch((picture) => {
      if (!this.#cap.take(picture.monotonicMs)) return false;
      this.#encoder.push(picture);
      return true;
    });
  }

  /** Writes out what has been encoded, and closes the file. */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    await this.#encoder.stop();
    await this.#working;
    await this.#folder.stop();
  }

  /**
   * Keeps what was and will be recorded in this time, in milliseconds of the steady clock, until somebody removes it.
   */
  lock(fromMs: number, toMs: number): void {
    this.#enqueue({ kind: 'lock', fromMs, toMs });
  }

  get status(): Omit<RecordingStatus, 'events'> {
    const { segments } = this.#folder;
    const failure = this.#diskFailure ?? this.#encoder.failure;
    return {
      state: failure === undefined ? 'Recording' : 'Failed',
      reason: failure ?? '',
      folder: this.#options.folder,
      files: segments.length,
      bytes: bytesOf(segments),
      lockedBytes: bytesOf(segments.filter(({ locked }) => locked)),
      oldestMs: segments[0] === undefined ? 0 : Math.round(wallOf(segments[0].startMs)),
      lostPictures: this.#encoder.lost,
      lostSeconds: this.#lostFragments,
    };
  }

  #enqueue(work: Work): void {
    this.#queue.push(work);
    const waiting = this.#queue.filter(({ kind }) => kind === 'fragment').length;
    if (waiting > MAX_QUEUED) {
      this.#queue.splice(
        this.#queue.findIndex(({ kind }) => kind === 'fragment'),
        1,
      );
      this.#lostFragments++;
    }
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    for (let work = this.#queue.shift(); work !== undefined; work = this.#queue.shift()) {
      try {
        if (!this.#prepared && performance.now() >= this.#retryAtMs) {
          await this.#folder.start();
          this.#prepared = true;
        }
        if (work.kind === 'lock') await this.#folder.lock(work.fromMs, work.toMs);
        else await this.#store(work);
      } catch (error) {
        this.#failed(error);
        if (work.kind === 'fragment') this.#lostFragments++;
      }
    }
  }

  async #store({ head, bytes, endMs }: Extract<Work, { kind: 'fragment' }>): Promise<void> {
    if (performance.now() < this.#retryAtMs) {
      this.#lostFragments++;
      return;
    }
    // One second of it is over when it is complete.
    const startMs = endMs - 1000;
    const age = startMs - this.#openedAtMs;
    const another = head !== this.#openHead || age >= SEGMENT_MS || age < 0;
    await this.#withRoom(async () => {
      if (another && this.#openHead !== undefined) this.#openHead = undefined;
      if (this.#openHead === undefined) {
        await this.#folder.begin(head, startMs, wallOf(startMs));
        this.#openHead = head;
        this.#openedAtMs = startMs;
      }
      await this.#folder.append(bytes, endMs);
    });
    if (this.#diskFailure !== undefined) this.#log.info('recording resumed');
    this.#diskFailure = undefined;
    if (another) await this.#folder.clean(endMs);
  }

  /** A full disk takes the oldest recordings, as a dashcam does; what is locked stays. */
  async #withRoom(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await write();
        return;
      } catch (error) {
        const full = isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT');
        const removed = full ? await this.#folder.removeOldest() : undefined;
        if (removed === undefined) throw error;
        this.#log.warn({ path: removed.name }, 'the disk is full: the oldest recording was removed');
      }
    }
  }

  #failed(error: unknown): void {
    this.#openHead = undefined;
    this.#retryAtMs = performance.now() + DISK_RETRY_MS;
    const reason = `recordings cannot be kept in ${this.#options.folder}: ${messageOf(error)}`;
    if (this.#diskFailure !== reason) this.#log.error({ reason }, 'recording failed');
    this.#diskFailure = reason;
  }
}

function bytesOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, { bytes }) => sum + bytes, 0);
}
