import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../shared/base/errors.ts';
import { type Row, summarise, timeEach } from '../measure.ts';

/** Another way to run a function, made ready. */
export interface Peer {
  once(): Promise<unknown>;
  stop(): Promise<void>;
}

/** A peer that this machine may have; `start` fails with the reason when it has not. */
export interface PeerSource {
  readonly name: string;
  readonly n: number;
  start(): Promise<Peer>;
}

/** Milliseconds of `once`; a peer that cannot be started, or fails, gets a row that says why. */
export async function measurePeer(suite: string, { name, n, start }: PeerSource): Promise<Row> {
  let peer: Peer | undefined;
  try {
    peer = await start();
    const { once } = peer;
    return summarise(suite, name, 'ms', await timeEach(n, Math.ceil(n / 10), () => once.call(peer)));
  } catch (error) {
    return { suite, name, absent: messageOf(error) };
  } finally {
    await peer?.stop();
  }
}

/** The file that a command stands for. `path` is as the environment variable of that name. */
export function onPath(command: string, path: string = process.env.PATH ?? ''): string | undefined {
  return path
    .split(':')
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, command))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}
