import { expect, test } from 'vitest';
import { groupName, isLeftover, type Owner, ownerOf } from './group-name.ts';

const self: Owner = { pid: 42, startTime: '12345', namespace: '4026531836' };
const other = (change: Partial<Owner>) => groupName('tenders', { ...self, ...change });
const alive = new Map([
  [42, '12345'],
  [43, '777'],
]);
const left = (name: string) => isLeftover(name, self, (pid) => alive.get(pid));

test('a name says whose it is', () => {
  expect(groupName('tenders', self)).toBe('kerbside-tenders-4026531836-42-12345');
  expect(ownerOf(groupName('broker', self))).toEqual(self);
});

test('a group is left over when its broker has ended, also when another process has its PID', () => {
  expect(left(other({ pid: 99 }))).toBe(true);
  expect(left(other({ pid: 43 }))).toBe(true);
  expect(left(groupName('broker', { ...self, pid: 99 }))).toBe(true);
});

test('never that of one that lives, of another PID namespace, or what has another name', () => {
  expect(left(other({}))).toBe(false);
  expect(left(other({ pid: 43, startTime: '777' }))).toBe(false);
  expect(left(other({ pid: 99, namespace: '4026532000' }))).toBe(false);
  for (const name of ['kerbside-08060bf3601d', 'docker', 'kerbside-tenders-1-2', 'kerbside-tenders-1-2-3-4', 'x']) {
    expect(left(name), name).toBe(false);
  }
});
