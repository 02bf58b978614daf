import { Agent } from 'node:http';
import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import { Dockerode, deferred } from './dockerode.ts';

const require = createRequire(import.meta.url);
const isLoaded = (name: string) => Object.keys(require.cache).some((file) => file.includes(`/node_modules/${name}/`));

it('loads what an OBU does not use when it is used', () => {
  expect(new Dockerode({ socketPath: '/none.sock' }).getContainer('x').id).toBe('x');
  expect(isLoaded('docker-modem')).toBe(true);
  expect(isLoaded('ssh2')).toBe(false);
  expect(isLoaded('@grpc/grpc-js')).toBe(false);

  expect(deferred.ssh({ host: 'engine.example' })).toBeInstanceOf(Agent);
  expect(isLoaded('ssh2')).toBe(true);
  expect(isLoaded('@grpc/grpc-js')).toBe(false);

  deferred.session({ modem: { dial: () => {} } }, {}, () => {});
  expect(isLoaded('@grpc/grpc-js')).toBe(true);
});
