/**
 * A pair of virtual CAN interfaces: what goes in at one end comes out of the other, also across network namespaces.
 *
 * Interface indexes are random: can-gw drops a frame silently when the index that it came in on equals that of the
 * destination, and it compares them across namespaces, where the kernel's own count from 1 in each.
 */
import { randomInt } from 'node:crypto';
import { ip } from './net-tools.ts';

const CAN_MTU = 16;
export const CANFD_MTU = 72;
const PEER = '-in';

/** A name that nobody else has: the prefix, of up to 6 characters, and 6 more. */
export function newHostEnd(prefix: string): string {
  return `${prefix}${newIndex().toString(36)}`;
}

/** The name of the other end while it is on the host; an interface's name has 15 characters. */
export function peerOf(host: string): string {
  return `${host}${PEER}`;
}

export function isPeer(name: string): boolean {
  return name.endsWith(PEER);
}

/** Makes both ends on the host and sets the host's own up. @throws KerbError CanInterfaceUnavailable */
export async function makePair(host: string, fd: boolean, alias: string): Promise<void> {
  const mtu = ['mtu', String(fd ? CANFD_MTU : CAN_MTU)];
  await ip(
    ...['link', 'add', host, ...mtu, 'index', String(newIndex())],
    ...['type', 'vxcan', 'peer', 'name', peerOf(host), ...mtu, 'index', String(newIndex())],
  );
  await ip('link', 'set', host, 'alias', alias, 'up');
}

/** Six digits in base 36, of the 31 bits that an index has. */
function newIndex(): number {
  return randomInt(0x10000000, 0x40000000);
}
