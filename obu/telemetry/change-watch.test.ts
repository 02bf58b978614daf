import { expect, it } from 'vitest';
import { EventLog } from '../../shared/api/event-log.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ChangeWatch } from './change-watch.ts';

const status = (fault: string, camera: string, connected: boolean) =>
  ({
    obu: 'obu-1',
    engine: { fault, version: '28.0' },
    cameras: [{ name: 'front', state: camera, reason: camera === 'Failed' ? 'no such device' : '' }],
    places: [{ place: 'rsu-1', connected, reason: connected ? '' : 'nobody answers' }],
  }) as unknown as ObuStatus;

it('tells of what has changed, once', () => {
  const events = new EventLog();
  const watch = new ChangeWatch(events);
  watch.look(status('', 'Closed', true));
  watch.look(status('', 'Closed', true));
  watch.look(status('no answer for 3.2 s: timeout', 'Failed', false));
  watch.look(status('no answer for 3.2 s: another sentence', 'Failed', false));
  watch.look(status('', 'Closed', true));
  expect(events.list().map(({ kind, name, word, message }) => [kind, name, word, message])).toEqual([
    ['engine', 'obu-1', 'Answering', 'Docker 28.0'],
    ['camera', 'front', 'Closed', ''],
    ['place', 'rsu-1', 'Connected', ''],
    ['engine', 'obu-1', 'Faulty', 'no answer for 3.2 s: timeout'],
    ['camera', 'front', 'Failed', 'no such device'],
    ['place', 'rsu-1', 'Lost', 'nobody answers'],
    ['engine', 'obu-1', 'Answering', 'Docker 28.0'],
    ['camera', 'front', 'Closed', ''],
    ['place', 'rsu-1', 'Connected', ''],
  ]);
});
