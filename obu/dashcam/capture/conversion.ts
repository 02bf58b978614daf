import { messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { Picture, PictureRequest } from './camera.ts';
import { Converter, type ConverterTiming, type NumberedPicture, type RawPicture } from './converter.ts';
import { RateCap } from './rate-cap.ts';

/**
 * All consumers with one request: thins the camera's pictures to the requested rate, numbers them, has them converted once
 * and hands each to every consumer. Grey pictures at the camera's own size are its luma plane and need no conversion.
 */
export class Conversion {
  readonly #camera: string;
  readonly #request: PictureRequest;
  readonly #log: Logger;
  readonly #cap: RateCap;
  readonly #converter: Converter;
  readonly #consumers = new Set<{ readonly listener: (picture: Picture) => void }>();
  #sequence = 0;

  constructor(options: {
    camera: string;
    ffmpegPath: string;
    request: PictureRequest;
    timing: ConverterTiming;
    log: Logger;
  }) {
    this.#camera = options.camera;
    this.#request = options.request;
    this.#log = options.log;
    this.#cap = new RateCap(options.request.fps);
    this.#converter = new Converter(options, (data, of) => this.#deliver(data, of));
  }

  get consumers(): number {
    return this.#consumers.size;
  }

  /** Why its consumers get nothing although the camera delivers; undefined while they do. */
  get failure(): string | undefined {
    return this.#converter.failure;
  }

  /** Pictures that came too fast to be converted. */
  get lost(): number {
    return this.#converter.lost;
  }

  /** Adds one consumer; the returned function takes it away, and may be called twice. */
  add(listener: (picture: Picture) => void): () => void {
    const consumer = { listener };
    this.#consumers.add(consumer);
    return () => this.#consumers.delete(consumer);
  }

  /** Takes a picture of the camera; returns whether it keeps the planes. */
  push(raw: RawPicture): boolean {
    if (!this.#cap.take(raw.monotonicMs)) return false;
    const numbered = { raw, sequence: this.#sequence++ };
    const { width, height } = raw.header;
    const ownSize = this.#request.width === 0 || (this.#request.width === width && this.#request.height === height);
    if (this.#request.format === 'gray8' && ownSize) this.#deliver(raw.planes.subarray(0, width * height), numbered);
    else this.#converter.push(numbered);
    return true;
  }

  async stop(): Promise<void> {
    this.#consumers.clear();
    await this.#converter.stop();
  }

  #deliver(data: Buffer, of: NumberedPicture): void {
    const picture: Picture = {
      camera: this.#camera,
      sequence: of.sequence,
      timeUs: of.raw.timeUs,
      format: this.#request.format,
      width: this.#request.width || of.raw.header.width,
      height: this.#request.height || of.raw.header.height,
      data,
    };
    for (const { listener } of this.#consumers) {
      try {
        listener(picture);
      } catch (error) {
        // One consumer's fault must not cost the others their pictures.
        this.#log.error({ camera: this.#camera, err: messageOf(error) }, 'consumer of pictures failed');
      }
    }
  }
}
