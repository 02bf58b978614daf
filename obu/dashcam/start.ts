import { join } from 'node:path';
import type { RecordingStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { SignalSource } from '../../shared/vss/signal.ts';
import type { CameraConfig } from '../config/config.ts';
import type { Camera } from './capture/camera.ts';
import { createCamera } from './capture/ffmpeg-camera.ts';
import { EventLock } from './recording/event-lock.ts';
import { type RawCamera, Recorder } from './recording/recorder.ts';

/** A camera of this OBU, with its recording if it has one. */
export interface ManagedCamera {
  readonly camera: Camera;
  /** A function of its own: it may be taken off its camera. */
  readonly recording: () => RecordingStatus | undefined;
  start(): Promise<void>;
  /** Safe to call twice, and in the middle of `start()`. */
  stop(): Promise<void>;
}

/** Not yet started. @throws KerbError BadCameraSource */
export function createManagedCamera(
  config: CameraConfig,
  parts: {
    /** Folder for recordings that the configuration gives no folder. */
    readonly recordings: string;
    readonly signals: SignalSource;
    readonly log: Logger;
  },
): ManagedCamera {
  const camera = createCamera({ name: config.name, source: config.source, log: parts.log });
  if (config.recording === undefined) {
    return { camera, recording: () => undefined, start: () => camera.start(), stop: () => camera.stop() };
  }
  return new RecordedCamera(camera, config.recording, parts);
}

class RecordedCamera implements ManagedCamera {
  readonly camera: Camera & RawCamera;
  readonly #recorder: Recorder;
  readonly #lock: EventLock | undefined;
  readonly recording = (): RecordingStatus => ({ ...this.#recorder.status, events: this.#lock?.events ?? 0 });

  constructor(
    camera: Camera & RawCamera,
    config: NonNullable<CameraConfig['recording']>,
    parts: { readonly recordings: string; readonly signals: SignalSource; readonly log: Logger },
  ) {
    this.camera = camera;
    const { folder = join(parts.recordings, camera.name), codec, fps, keep } = config;
    const recorder = new Recorder(camera, { folder, codec, fps, retention: keep, log: parts.log });
    this.#recorder = recorder;
    if (config.lock === undefined) return;
    const { when, ...window } = config.lock;
    const known = new Set(parts.signals.paths());
    const missing = when.paths.find((path) => !known.has(path));
    if (missing !== undefined) {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cameras.${camera.name}.recording.lock.when: this OBU has no signal "${missing}"; its mapping files name those that it has`,
      );
    }
    this.#lock = new EventLock(when, window, parts.signals, (from, to) => recorder.lock(from, to));
  }

  async start(): Promise<void> {
    await this.camera.start();
    this.#recorder.start();
    this.#lock?.start();
  }

  async stop(): Promise<void> {
    this.#lock?.stop();
    await this.#recorder.stop();
    await this.camera.stop();
  }
}
