import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

// In a process of its own: others in this one may have loaded anything.
const script = `
  import { Agent } from 'node:http';
  import { createRequire } from 'node:module';
  const require = createRequire(${JSON.stringify(import.meta.filename)});
  const { Dockerode, deferred } = await import(${JSON.stringify(join(import.meta.dirname, 'dockerode.ts'))});
  const loaded = () => ['docker-modem', 'ssh2', '@grpc/grpc-js'].filter((name) =>
    Object.keys(require.cache).some((file) => file.includes('/node_modules/' + name + '/')));
  const said = [new Dockerode({ socketPath: '/none.sock' }).getContainer('x').id, loaded()];
  said.push(deferred.ssh({ host: 'engine.example' }) instanceof Agent, loaded());
  deferred.session({ modem: { dial: () => {} } }, {}, () => {});
  said.push(loaded());
  console.log(JSON.stringify(said));
  process.exit(0);
`;

it('loads what an OBU does not use when it is used', () => {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script];
  expect(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))).toEqual([
    'x',
    ['docker-modem'],
    true,
    ['docker-modem', 'ssh2'],
    ['docker-modem', 'ssh2', '@grpc/grpc-js'],
  ]);
});
