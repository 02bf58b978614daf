import { describe, expect, it } from 'vitest';
import { nextReaderState, type ReaderEvent, type ReaderState, retryDelayMs } from './reader-state.ts';

const idle: ReaderState = { state: 'Idle' };
const failed: ReaderEvent = { event: 'failed', reason: 'gone' };

function stateAfter(events: readonly (readonly [number, ReaderEvent])[]): ReaderState {
  return events.reduce((state, [nowMs, event]) => nextReaderState(state, event, nowMs), idle);
}

describe('nextReaderState', () => {
  it('goes from Idle through Starting to Running and back', () => {
    expect(stateAfter([[0, { event: 'wanted' }]])).toEqual({ state: 'Starting' });
    const running = stateAfter([
      [0, { event: 'wanted' }],
      [9, { event: 'picture' }],
    ]);
    expect(running).toEqual({ state: 'Running', sinceMs: 9, failures: 0 });
    expect(nextReaderState(running, { event: 'picture' }, 10)).toBe(running);
    expect(nextReaderState(running, { event: 'unwanted' }, 11)).toEqual(idle);
  });

  it('stays Failed, with the latest reason, until a picture comes', () => {
    const twice = stateAfter([
      [0, { event: 'wanted' }],
      [1, failed],
      [500, { event: 'failed', reason: 'busy' }],
    ]);
    expect(twice).toEqual({ state: 'Failed', reason: 'busy', failures: 2 });
    expect(nextReaderState(twice, { event: 'wanted' }, 600)).toBe(twice);
    expect(nextReaderState(twice, { event: 'picture' }, 900)).toMatchObject({ state: 'Running', failures: 2 });
  });

  it('begins the back-off anew only after the camera ran for a while', () => {
    const events: [number, ReaderEvent][] = [
      [0, { event: 'wanted' }],
      [0, failed],
      [0, failed],
      [1000, { event: 'picture' }],
    ];
    expect(stateAfter([...events, [1100, failed]])).toMatchObject({ failures: 3 });
    expect(stateAfter([...events, [9000, failed]])).toMatchObject({ failures: 1 });
  });

  it('ignores what a reader that nobody wants still reports', () => {
    expect(nextReaderState(idle, failed, 0)).toBe(idle);
    expect(nextReaderState(idle, { event: 'picture' }, 0)).toBe(idle);
  });
});

describe('retryDelayMs', () => {
  it('doubles from half a second to five seconds', () => {
    expect([1, 2, 3, 4, 5, 6, 1000].map(retryDelayMs)).toEqual([500, 1000, 2000, 4000, 5000, 5000, 5000]);
  });
});
