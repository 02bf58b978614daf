import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../support/until.ts';
import type { Exchange } from '../report.ts';
import { Candump, cansend } from './can-utils.ts';

/** The containers of the workloads `some` and `all`, in each of which a candump runs. */
export interface Containers {
  /** Frames that it has logged so far. */
  dumped(workload: 'some' | 'all'): readonly string[];
  /** Runs cansend there, for one after the other. */
  send(workload: 'some' | 'all', ...frames: string[]): Promise<void> | void;
}

/** Sends from everywhere what is granted and what is not, and looks at what arrives where. */
export async function exchange({ dumped, send }: Containers): Promise<Exchange> {
  const before = { some: dumped('some').length, all: dumped('all').length };
  const host = new Candump('');
  await until('candump listens', () => {
    cansend('7FF#00');
    return host.lines.length > 0;
  });
  const frames = ['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'];
  cansend(...frames);
  // Not granted: another id, a remote frame, an extended one with the same digits, and anything from a mere reader.
  await send('some', '3E9#AA', '3E9##1AB', '3EA#AA', '3E9#R', '000003E9#AA');
  await send('all', '3E9#BB');
  cansend('1FE#00');
  await until('the last frame is everywhere', () =>
    [dumped('some').slice(before.some), dumped('all').slice(before.all), host.frames].every((list) =>
      list.includes('1FE#00'),
    ),
  );
  await sleep(300);
  const result = {
    some: dumped('some').slice(before.some),
    all: dumped('all')
      .slice(before.all)
      .filter((text) => text !== '7FF#00'),
    host: host.frames.filter((text) => text !== '7FF#00'),
  };
  await host.stop();
  return result;
}
