import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';

/**
 * Takes a state folder for this process; two of us on one would fight over sockets and containers.
 * @returns the file to remove when it is given back
 * @throws KerbError SimulatorFailed when another one has it
 */
export function takeLock(state: string): string {
  const file = join(state, 'drive.pid');
  for (;;) {
    try {
      const fd = openSync(file, 'wx');
      writeSync(fd, `${process.pid}\n`);
      closeSync(fd);
      return file;
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      const holder = Number(readFileSync(file, 'utf8'));
      if (isDrive(holder)) {
        throw new KerbError(
          ErrorCode.SimulatorFailed,
          `${state} is in use by process ${holder}; stop that one, or give this one --state with another folder`,
        );
      }
      rmSync(file, { force: true }); // left by one that was killed
    }
  }
}

/** Whether this process is a `kerb` of ours: process ids are used again. */
function isDrive(pid: number): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('kerb.ts');
  } catch {
    return false;
  }
}

/** A folder for sockets, only ours. A socket's path holds 107 bytes, so a deep state folder gets them elsewhere. */
export function makeSocketFolder(state: string): string {
  const inside = join(state, 'run');
  if (Buffer.byteLength(inside) >= 80) return mkdtempSync(join(tmpdir(), 'kerbside-'));
  mkdirSync(inside, { recursive: true, mode: 0o700 });
  return inside;
}

/** Resolves when somebody accepts connections there. */
export function answers(socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });
}

/** `preferred` when nobody has it, else any free port. */
export function freePort(preferred: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (preferred !== 0 && isErrno(error, 'EADDRINUSE')) resolve(freePort(0));
      else reject(error);
    });
    server.listen(preferred, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
