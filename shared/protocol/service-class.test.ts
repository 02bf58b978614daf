import { expect, test } from 'vitest';
import { cappedClass, classOfPriority, rankOf, SERVICE_CLASSES } from './service-class.ts';

test('the words of the manifest are the classes of the same name', () => {
  expect([1000, 750, 500, 0].map(classOfPriority)).toEqual([...SERVICE_CLASSES]);
});

test('a more urgent priority never makes a less urgent class', () => {
  for (let priority = 1; priority <= 1000; priority++) {
    expect(rankOf(classOfPriority(priority))).toBeLessThanOrEqual(rankOf(classOfPriority(priority - 1)));
  }
});

test('nobody gets more than the highest class of the tenant', () => {
  expect(cappedClass('safety', 'normal')).toBe('normal');
  expect(cappedClass('idle', 'normal')).toBe('idle');
  expect(cappedClass('high', 'safety')).toBe('high');
});
