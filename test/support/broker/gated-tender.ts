import type { TenderOutcome } from '../../../broker/tenders/process/tender.ts';
import { FakeTender } from '../fake-tender.ts';

/** A FakeTender that holds each input that begins with "h" until the gate opens, and then gives it back. */
export class GatedTender extends FakeTender {
  readonly #gate: Promise<void>;

  constructor(gate: Promise<void>) {
    super();
    this.#gate = gate;
  }

  override async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    if (input[0] === 0x68) {
      this.state = 'Busy';
      await this.#gate;
      if (this.state === 'Busy') this.state = 'Waiting';
    }
    return await super.call(input, budgetMs);
  }
}
