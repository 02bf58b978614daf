import { afterAll, describe, inject } from 'vitest';
import type { Isolation, TenderOutcome } from '../../broker/tenders/process/tender.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { silentLog } from '../../shared/base/log.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import { built, guestImage, type Machine, taskImage } from './support-paths.ts';

export { built, guestImage, taskImage } from './support-paths.ts';

/** Numbers as little-endian u64; negative ones in two's complement. */
export function u64(...values: (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8);
  });
  return bytes;
}

/**
 * The same tests for both isolations. Where there is no KVM that can be used, those for `vm` are not run and the reason is
 * said; with KERB_TEST_VM=required they fail instead.
 */
export function forEachIsolation(tests: (tenders: Tenders, isolation: Isolation) => void): void {
  describe('isolation process', () => tests(new Tenders('process'), 'process'));
  const trouble = process.env.KERB_TEST_VM === 'required' ? '' : inject('machine').vm;
  describeWhere(trouble || undefined, 'isolation vm', () => tests(new Tenders('vm'), 'vm'));
}

/** And for isolation `process` in its other way, too, where one process is kept: with a process for each call. */
export function forEachWay(tests: (tenders: Tenders, isolation: Isolation) => void): void {
  forEachIsolation(tests);
  describe.skipIf(process.arch !== 'x64')('isolation process, where ptrace is forbidden', () =>
    tests(new Tenders('process', '', 'without-ptrace'), 'process'),
  );
}

/** Started tenders of one test file; all are stopped at its end. */
export class Tenders {
  readonly #all: TenderProcess[] = [];
  readonly #byImage = new Map<string, Promise<TenderProcess>>();

  readonly #isolation: Isolation;
  readonly #machine: Machine;
  readonly #binary: string | undefined;
  /** Seccomp filters that it was started with. */
  readonly outerFilters: number;
  /** One process is put back after each call; in isolation `vm` one machine. */
  readonly kept: boolean;

  /** @param binary of build/unikernel, instead of the tender */
  constructor(isolation: Isolation = 'process', machine: Machine = '', binary?: 'without-ptrace') {
    this.#isolation = isolation;
    this.#machine = machine;
    this.#binary = binary ?? (machine === '' ? undefined : 'qemu-tender');
    this.outerFilters = binary === undefined ? 0 : 1;
    this.kept = isolation === 'vm' || (this.#binary === undefined && process.arch === 'x64');
    afterAll(() => Promise.all(this.#all.map((tender) => tender.stop())));
  }

  make(imagePath: string, other?: string): TenderProcess {
    const binary = other ?? (this.#binary === undefined ? undefined : built(this.#binary, this.#machine));
    const tender = new TenderProcess({ imagePath, log: silentLog(), binary, isolation: this.#isolation });
    this.#all.push(tender);
    return tender;
  }

  async start(imagePath: string): Promise<TenderProcess> {
    const tender = this.make(imagePath);
    await tender.start();
    return tender;
  }

  /** The one tender of a test guest, started on first use. */
  guest(name: string): Promise<TenderProcess> {
    return this.#shared(guestImage(name, this.#machine));
  }

  /** The one tender of a task of `examples/tasks`, started on first use. */
  task(name: string): Promise<TenderProcess> {
    return this.#shared(taskImage(name, this.#machine));
  }

  #shared(imagePath: string): Promise<TenderProcess> {
    let tender = this.#byImage.get(imagePath);
    if (tender === undefined) {
      tender = this.start(imagePath);
      this.#byImage.set(imagePath, tender);
    }
    return tender;
  }

  async call(guest: string, input: Uint8Array | string = '', budgetMs = 5_000): Promise<TenderOutcome> {
    return (await this.guest(guest)).call(typeof input === 'string' ? Buffer.from(input) : input, budgetMs);
  }
}

/** The output as text of a call that must have succeeded. */
export function answer(outcome: TenderOutcome): string {
  if (outcome.outcome !== 'done' || outcome.status !== 0) throw new Error(`not done: ${JSON.stringify(outcome)}`);
  return outcome.output.toString();
}

/** The fault of a call that must have ended with one. */
export function fault(outcome: TenderOutcome): string {
  if (outcome.outcome !== 'fault') throw new Error(`no fault: ${JSON.stringify(outcome)}`);
  return outcome.fault;
}
