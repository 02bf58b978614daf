import type { ObuStatus } from '../../shared/api/status.ts';
import { RateWindow, RollingQuantiles } from '../../shared/base/rolling.ts';

/** How the offloads of this OBU went lately. Failures count with the time that they took: waiting for nothing is slow. */
export class OffloadMeter {
  readonly #rate = new RateWindow();
  readonly #failedRate = new RateWindow();
  readonly #total = new RollingQuantiles();
  readonly #queue = new RollingQuantiles();
  readonly #run = new RollingQuantiles();
  #ok = 0;
  #failed = 0;
  #inFlight = 0;

  started(): void {
    this.#inFlight++;
  }

  /** All times in milliseconds. */
  done(times: { readonly totalMs: number; readonly queueMs: number; readonly runMs: number }): void {
    this.#inFlight--;
    this.#ok++;
    this.#rate.add();
    this.#total.record(times.totalMs);
    this.#queue.record(times.queueMs);
    this.#run.record(times.runMs);
  }

  /** @param totalMs from when the workload asked until it was told */
  failed(totalMs: number): void {
    this.#inFlight--;
    this.#failed++;
    this.#failedRate.add();
    this.#total.record(totalMs);
  }

  status(): ObuStatus['offloads'] {
    return {
      ok: this.#ok,
      failed: this.#failed,
      inFlight: this.#inFlight,
      perSecond: this.#rate.perSecond(),
      failedPerSecond: this.#failedRate.perSecond(),
      total: this.#total.quantiles(),
      queue: this.#queue.quantiles(),
      run: this.#run.quantiles(),
    };
  }
}
