import { expect, it } from 'vitest';
import { DeniedIdLog } from './denied-ids.ts';

it('counts ids by workload and bus, the most frequent first', () => {
  const log = new DeniedIdLog();
  log.add('some', 'can0', '3EA');
  log.add('some', 'can0', '3EB');
  log.add('some', 'can0', '3EB');
  log.add('some', 'can1', '3EA');
  log.add('other', 'can0', '7FF');
  expect(log.of('some')).toEqual([
    { bus: 'can0', id: '3EB', frames: 2 },
    { bus: 'can0', id: '3EA', frames: 1 },
    { bus: 'can1', id: '3EA', frames: 1 },
  ]);
  expect(log.of('nobody')).toEqual([]);
});

it('keeps so many ids apart and no more, and loses no frame', () => {
  const log = new DeniedIdLog();
  for (let id = 0; id < 2048; id++) log.add('some', 'can0', id.toString(16));
  const ids = log.of('some');
  expect(ids.length).toBe(33);
  expect(ids[0]).toEqual({ bus: 'can0', id: 'others', frames: 2048 - 32 });
});
