import { afterAll, describe } from 'vitest';
import type { Isolation, TenderOutcome } from '../../broker/tenders/tender.ts';
import { TenderProcess } from '../../broker/tenders/tender-process.ts';
import { silentLog } from '../../shared/log.ts';
import { noTender, tenderTrouble } from '../support/require-tenders.ts';
import { built, guestImage, type Machine, taskImage } from './support-paths.ts';

export { requireTenders } from '../support/require-tenders.ts';
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
 * The same tests for both isolations. Where one cannot be had, its tests are skipped and the reason said; with
 * KERB_TEST_VM=required those for `vm` fail instead. Where none can be had, the file fails at once.
 */
export async function forEachIsolation(tests: (tenders: Tenders, isolation: Isolation) => void): Promise<void> {
  const trouble = {
    process: await tenderTrouble('process'),
    vm: process.env.KERB_TEST_VM === 'required' ? undefined : await tenderTrouble('vm'),
  };
  if (trouble.process !== undefined && trouble.vm !== undefined) throw noTender(trouble.process);
  for (const isolation of ['process', 'vm'] as const) {
    const reason = trouble[isolation];
    if (reason === undefined) {
      describe(`isolation ${isolation}`, () => tests(new Tenders(isolation), isolation));
    } else {
      console.warn(`not run for isolation ${isolation}: ${reason}`);
      describe.skip(`isolation ${isolation}, not run: ${reason}`, () => tests(new Tenders(isolation), isolation));
    }
  }
}

/** Started tenders of one test file; all are stopped at its end. */
export class Tenders {
  readonly #all: TenderProcess[] = [];
  readonly #byImage = new Map<string, Promise<TenderProcess>>();

  readonly #isolation: Isolation;
  readonly #machine: Machine;

  constructor(isolation: Isolation = 'process', machine: Machine = '') {
    this.#isolation = isolation;
    this.#machine = machine;
    afterAll(() => Promise.all(this.#all.map((tender) => tender.stop())));
  }

  make(imagePath: string, other?: string): TenderProcess {
    const binary = other ?? (this.#machine === '' ? undefined : built('qemu-tender', this.#machine));
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
