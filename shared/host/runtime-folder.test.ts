import { expect, it } from 'vitest';
import { runtimeFolder } from './runtime-folder.ts';

const user = { uid: 1000, homedir: '/home/kim' };

it('is the system folder for root and a folder of the user for everybody else', () => {
  expect(runtimeFolder({ ...user, uid: 0 }, '/run/user/0')).toBe('/run/kerbside');
  expect(runtimeFolder(user, '/run/user/1000')).toBe('/run/user/1000/kerbside');
  expect(runtimeFolder(user, '')).toBe('/home/kim/.kerbside/run');
  expect(runtimeFolder({ ...user, homedir: '/srv/kim' }, '')).toBe('/srv/kim/.kerbside/run');
});
