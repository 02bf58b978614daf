import type { TenderOutcome } from '../../../broker/tenders/process/tender.ts';
import { FakeTender } from '../fake-tender.ts';

/**
 * For tests: a tender of a task that counts its calls in the state of a session and gives the number back. Instead of that,
 * "say X" writes X and gives it back, "keep" writes nothing, "remove" removes it, "huge" gives more state than declared, "bad" no header; "wait" ends when `go` is called.
 */
export class CounterTender extends FakeTender {
  go: () => void = () => {};

  override async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    const bytes = Buffer.from(input);
    const what = bytes.subarray(bytes.readUInt32LE(12)).toString();
    const count = bytes.readUInt32LE(4) === 0 ? 0 : Number(bytes.subarray(16, 16 + bytes.readUInt32LE(8)).toString());
    if (what === 'wait') {
      this.state = 'Busy';
      await new Promise<void>((resolve) => {
        this.go = resolve;
      });
      if (this.state === 'Busy') this.state = 'Waiting';
    }
    const done = await super.call(Buffer.from('e'), budgetMs);
    return done.outcome === 'done' ? { ...done, output: outputOf(what, count) } : done;
  }
}

function outputOf(what: string, count: number): Buffer {
  if (what.startsWith('say ')) return reply(1, what.slice(4), what.slice(4));
  switch (what) {
    case 'keep':
      return reply(0, '', String(count));
    case 'remove':
      return reply(2, '', String(count));
    case 'huge':
      return reply(1, '7'.repeat(1000), 'huge');
    case 'bad':
      return Buffer.from('no header');
    default:
      return reply(1, String(count + 1), String(count + 1));
  }
}

function reply(action: number, state: string, output: string): Buffer {
  const at = 16 + Math.ceil(state.length / 16) * 16;
  const framed = Buffer.alloc(at + output.length);
  framed.write('KST1', 'latin1');
  framed.writeUInt32LE(action, 4);
  framed.writeUInt32LE(state.length, 8);
  framed.writeUInt32LE(at, 12);
  framed.write(state, 16);
  framed.write(output, at);
  return framed;
}
