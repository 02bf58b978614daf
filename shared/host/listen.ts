import type { Server } from 'node:http';
import { isErrno, messageOf } from '../base/errors.ts';

/** The address where a daemon listens. */
export interface ListenAddress {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
}

/** "127.0.0.1:7443", "[::1]:7443", "localhost:7443"; undefined for anything else. */
export function parseListen(text: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  return match === null || port > 65_535 ? undefined : { host: (match[1] ?? match[2])!, port };
}

const faults: Readonly<Record<string, string>> = {
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'cannot assign requested address: this machine does not have it',
  EACCES: 'permission denied',
  ENOENT: 'its folder does not exist',
};

/** Why a server could not listen, without the address, which Node would say once more. */
export function listenFault(error: unknown): string {
  const code = isErrno(error) ? (error.code ?? '') : '';
  return code in faults ? `${faults[code]} (${code})` : messageOf(error);
}

/**
 * Takes a server down with all its connections.
 * @param listening settles when it listens: in the middle of that it cannot be closed
 */
export async function closeServer(
  server: Pick<Server, 'close' | 'closeAllConnections'>,
  listening: Promise<void>,
): Promise<void> {
  await listening.catch(() => {});
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
