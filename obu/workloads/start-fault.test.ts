import { expect, it } from 'vitest';
import { plainFault } from './start-fault.ts';

const chain =
  'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ';
const old = 'OCI runtime create failed: container_linux.go:367: starting container process caused: ';
const init = `${chain}error during container init: `;

// What Docker Engine 20.10 to 29 with runc 1.0 to 1.3 says, and the word that has to be in what a person is told.
it.each([
  [`${chain}exec: "foo": executable file not found in $PATH: unknown`, /"foo".*`command`/],
  [`${old}exec: "foo": executable file not found in $PATH: unknown`, /"foo".*`command`/],
  [`${init}exec: "/bin/foo": stat /bin/foo: no such file or directory: unknown`, /"\/bin\/foo" is not in the image/],
  [`${chain}exec: "/data": permission denied: unknown`, /"\/data".*permission denied/],
  [`${chain}exec: "/etc/hosts": permission denied`, /"\/etc\/hosts".*executable/],
  [`${init}exec: "/app": is a directory: unknown`, /"\/app" is a folder/],
  [`${init}exec /run.sh: no such file or directory`, /"\/run\.sh".*interpreter/],
  [`${init}exec /bin/sh: exec format error: unknown`, /another architecture/],
  ['standard_init_linux.go:228: exec user process caused: exec format error', /another architecture/],
  ['unable to find user nobody2: no matching entries in passwd file', /no user "nobody2".*`user`/],
  [
    `${chain}chdir to cwd ("/nowhere") set in config.json failed: no such file or directory: unknown`,
    /"\/nowhere" of `working_dir`/,
  ],
  ['(HTTP code 400) unexpected - no command specified', /`command`/],
  [
    `${init}error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: unknown`,
    /`ulimits`/,
  ],
  ['Requested CPUs are not available - requested 7, available: 0-1.', /no CPUs 7; it has 0-1: correct `cpuset`/],
  ['Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available', /has 2 CPUs.*`cpus`/],
])('%s', (said, told) => {
  const line = plainFault(said);
  expect(line).toMatch(told);
  expect(line).not.toMatch(/runc|OCI|shim|task|_linux\.go|unknown|HTTP|container process|\n/);
});

it('keeps what it does not know, without the chain in front of it', () => {
  expect(plainFault(`${init}a thing of tomorrow: it broke: unknown`)).toBe('a thing of tomorrow: it broke');
  expect(plainFault('Error response from daemon: conflict:\n  name in use')).toBe('conflict: name in use');
  expect(plainFault('no space left on device')).toBe('no space left on device');
  expect(plainFault('OCI runtime create failed: ')).toMatch(/\S/);
});
