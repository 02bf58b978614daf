/** A folder in which running daemons of one kind are found: each has a symbolic link to its control socket there. */
import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { runtimeFolder } from './runtime-folder.ts';

/** How long a socket may take to accept, in milliseconds. */
const CONNECT_MS = 1000;

export interface FoundSocket {
  readonly id: string;
  readonly path: string;
}

/** The folder in which the brokers of this user are found. */
export function brokersDir(): string {
  return join(runtimeFolder(), 'brokers');
}

/** The entry of one daemon, for as long as it runs. A folder that cannot be written costs nothing but being found. */
export class SocketEntry {
  readonly #dir: string;
  readonly #link: string;
  readonly #socketPath: string;

  constructor(dir: string, id: string, socketPath: string) {
    this.#dir = dir;
    // Ids are checked elsewhere; several daemons may have the same.
    this.#link = join(dir, `${encodeURIComponent(id)}.${process.pid}`);
    this.#socketPath = resolve(socketPath);
  }

  async start(): Promise<void> {
    try {
      await mkdir(this.#dir, { recursive: true, mode: 0o700 });
      await this.#removeOlder();
      await symlink(this.#socketPath, this.#link);
    } catch (error) {
      if (!isErrno(error)) throw error;
    }
  }

  /** Entries of daemons that listened on this socket before and were killed: two links to one socket are one daemon. */
  async #removeOlder(): Promise<void> {
    for (const name of await readdir(this.#dir)) {
      const link = join(this.#dir, name);
      const path = await readlink(link).catch(() => undefined);
      if (path === this.#socketPath || link === this.#link) await rm(link, { force: true });
    }
  }

  async stop(): Promise<void> {
    await rm(this.#link, { force: true }).catch(() => {});
  }
}

/** The daemons that can be reached, by id. Entries of those that were killed are removed. */
export async function runningSockets(dir: string): Promise<FoundSocket[]> {
  const names = await readdir(dir).catch(() => []);
  const found = await Promise.all(
    names.map(async (name): Promise<FoundSocket | undefined> => {
      const link = join(dir, name);
      const path = await readlink(link).catch(() => undefined);
      if (path === undefined) return undefined;
      if (await accepts(path)) return { id: idOf(name), path };
      await rm(link, { force: true }).catch(() => {});
      return undefined;
    }),
  );
  return found.filter((one) => one !== undefined).sort((a, b) => (a.id + a.path < b.id + b.path ? -1 : 1));
}

/** False only when no process listens any more: one that is slow may be the one that is looked for. */
function accepts(path: string): Promise<boolean> {
  return new Promise((resolveAccepts) => {
    const socket = connect(path);
    const done = (isThere: boolean) => {
      socket.destroy();
      resolveAccepts(isThere);
    };
    socket.setTimeout(CONNECT_MS, () => done(true));
    socket.on('connect', () => done(true));
    socket.on('error', (error) => done(!isErrno(error, 'ENOENT') && !isErrno(error, 'ECONNREFUSED')));
  });
}

function idOf(name: string): string {
  const id = name.replace(/\.\d+$/, '');
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}
