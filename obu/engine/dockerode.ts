/**
 * dockerode, which loads gRPC (for BuildKit sessions) and ssh2 (for engines behind ssh://) with its first line. Here both
 * wait until somebody uses them: an OBU does not, and has 12 MB less in its memory.
 */
import Module, { createRequire } from 'node:module';
import type Docker from 'dockerode';

const require = createRequire(import.meta.url);
/** As dockerode itself would find them. Each exports one function. */
const sessionFile = require.resolve('dockerode/lib/session');
const sshFile = createRequire(sessionFile).resolve('docker-modem/lib/ssh');

// biome-ignore lint/complexity/noBannedTypes: whatever the module exports
function defer(file: string): Function {
  const stub = new Module(file);
  stub.loaded = true;
  stub.exports = (...args: unknown[]) => {
    if (require.cache[file] === stub) delete require.cache[file];
    return require(file)(...args);
  };
  require.cache[file] = stub;
  return stub.exports;
}

/** For its test. */
export const deferred = { session: defer(sessionFile), ssh: defer(sshFile) };

export const Dockerode: typeof Docker = require('dockerode');
