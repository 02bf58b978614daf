import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageInfo, Isolation, Tender, TenderOutcome, TenderState } from '../../broker/tenders/process/tender.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/**
 * For tests: a tender without a process. The first byte of the input says what it does, so that tests reach every end
 * of a call: 'e' gives the input back, 's' sleeps as many milliseconds as the second byte says and gives it back, 'f'
 * faults, 'a' aborts, 'r' refuses its input, 'b' gives bad output, 'd' runs into its deadline, 'k' dies.
 */
export class FakeTender implements Tender {
  readonly isolation: Isolation;
  readonly pid = undefined;
  readonly image: ImageInfo = { name: 'echo', memory: 1 << 20, maxInput: 65_536, maxOutput: 65_536 };
  readonly startError: KerbError | undefined;
  state: TenderState = 'Loading';
  calls = 0;
  #onDeath: ((reason: string) => void) | undefined;

  constructor(startError?: KerbError, isolation: Isolation = 'process') {
    this.isolation = isolation;
    this.startError = startError;
  }

  async start(): Promise<void> {
    await sleep(1);
    if (this.startError !== undefined) throw this.startError;
    if (this.state === 'Loading') this.state = 'Waiting';
  }

  async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    if (this.state !== 'Waiting') throw new KerbError(ErrorCode.TenderUnavailable, `state ${this.state}`);
    this.state = 'Busy';
    this.calls++;
    const what = String.fromCharCode(input[0] ?? 0);
    if (what === 'k') {
      this.die('killed');
      throw new KerbError(ErrorCode.TenderDied, 'the tender was killed');
    }
    if (what === 's') await sleep(Math.min(input[1]!, budgetMs));
    else await Promise.resolve();
    if (this.state === 'Busy') this.state = 'Waiting';
    const use = { runMs: what === 's' ? input[1]! : 0.1, cpuMs: 0.05, peakMemory: 16_384, log: '' };
    switch (what) {
      case 'f':
        return { outcome: 'fault', fault: 'read of 0x0', ...use };
      case 'a':
        return { outcome: 'aborted', code: 3, ...use };
      case 'r':
        return { outcome: 'done', status: 22, output: Buffer.alloc(0), ...use };
      case 'b':
        return { outcome: 'bad-output', reason: 'longer than declared', ...use };
      case 'd':
        return { outcome: 'deadline', ...use, runMs: budgetMs };
      default:
        return { outcome: 'done', status: 0, output: Buffer.from(input), ...use };
    }
  }

  async stop(): Promise<void> {
    if (this.state !== 'Dead') this.state = 'Stopped';
  }

  onDeath(listener: (reason: string) => void): void {
    this.#onDeath = listener;
  }

  die(reason: string): void {
    this.state = 'Dead';
    this.#onDeath?.(reason);
  }
}
