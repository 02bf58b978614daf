import type { Report } from '../telemetry/report.ts';
import type { ManagedCamera } from './start.ts';

/** Reports cameras and recordings that do not work: looks at them every now and then. */
export class CameraFaultWatch {
  readonly #cameras: readonly Pick<ManagedCamera, 'camera' | 'recording'>[];
  readonly #report: Report;
  /** By what failed, the reason that was reported last; empty: it works. */
  readonly #known = new Map<string, string>();

  constructor(cameras: readonly Pick<ManagedCamera, 'camera' | 'recording'>[], report: Report) {
    this.#cameras = cameras;
    this.#report = report;
  }

  /** To be called once a second. */
  look(): void {
    for (const { camera, recording } of this.#cameras) {
      const { state } = camera.status();
      this.#see(`camera ${camera.name}`, state.state === 'Failed' ? state.reason : '');
      this.#see(`recording of ${camera.name}`, recording()?.reason ?? '');
    }
  }

  #see(source: string, reason: string): void {
    if (reason !== '' && this.#known.get(source) !== reason) this.#report({ event: 'camera-fault', source, reason });
    this.#known.set(source, reason);
  }
}
