import { messageOf } from '../../shared/base/errors.ts';
import { type Row, ratio, summarise } from '../measure.ts';
import { availableBytes } from '../proc.ts';
import type { Say } from '../tenders.ts';
import { WholeObu } from './whole.ts';

const suite = 'obu';
const COUNTS = [1, 10, 100];
/** As many ends as that are measured of each, in two rounds or more. */
const SAMPLES = 30;
/** A sleeping container with its shim, and its share of the engine and the OBU. */
const BYTES_EACH = 24 * 2 ** 20;
/** Left to the machine: builds and tests of others. */
const BYTES_SPARE = 2 ** 30;

/**
 * From the engine's event that a container has ended, by the engine's own time, until status shows it: of one, and of 10
 * and 100 that end at once. Beside it, for the same ends, when a program that does nothing else has the event.
 */
export async function* deaths(say: Say): AsyncGenerator<Row> {
  for (const wanted of COUNTS) {
    const room = Math.floor((availableBytes() - BYTES_SPARE) / BYTES_EACH);
    const count = Math.max(1, Math.min(wanted, room));
    const rounds = Math.max(2, Math.ceil(SAMPLES / count));
    const name = `${count} end at once${count < wanted ? ` (memory is there for no more, ${wanted} wanted)` : ''}`;
    const obu = new WholeObu();
    try {
      say(`${name}, ${rounds} times: starting an OBU`);
      try {
        await obu.start(count, { restart: 'no' });
      } catch (error) {
        yield { suite, name, absent: messageOf(error) };
        continue;
      }
      yield* rowsOf(name, obu, count, rounds, say);
    } finally {
      await obu.stop();
    }
  }
}

async function* rowsOf(name: string, obu: WholeObu, count: number, rounds: number, say: Say): AsyncGenerator<Row> {
  const ours: number[] = [];
  const listener: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const seen = await obu.endAll();
    // The first one is for warming up.
    if (round >= 0) {
      ours.push(...seen.map(({ statusMs }) => statusMs));
      listener.push(...seen.map(({ listenerMs }) => listenerMs));
      say(`${name}: ${round + 1} of ${rounds}`);
    }
    if (round + 1 === rounds) break;
    await obu.apply(count, { restart: 'no', environment: { ROUND: String(round) } });
  }
  const bare = summarise(suite, `${name}: engine's event to a bare listener`, 'ms', listener);
  const status = summarise(suite, `${name}: engine's event to status`, 'ms', ours);
  yield bare;
  yield status;
  yield ratio(status, bare, `${name}: status / bare listener`)!;
}
