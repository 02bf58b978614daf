import { join } from 'node:path';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { type Logger, silentLog } from '../base/log.ts';
import { runtimeFolder } from '../host/runtime-folder.ts';
import type { BusKind, CanBus } from './bus.ts';
import type { BusCore } from './bus-core.ts';
import { isCanInterface, SocketCanBus } from './socketcan-bus.ts';
import { UserspaceBus } from './userspace/userspace-bus.ts';

export interface BusChoice {
  /** The interface for SocketCAN; for the userspace bus what this program calls it. */
  readonly name: string;
  readonly kind: 'auto' | BusKind;
  /** Userspace bus: its socket; default `defaultBusSocket(name)`. */
  readonly socketPath?: string;
}

export interface OpenBusOptions {
  readonly log?: Logger;
  /** Name of this program, for the log of the userspace bus. */
  readonly client?: string;
  /** Of the bus that the new one works for; default: one of its own. */
  readonly core?: BusCore;
}

export interface OpenedBus {
  /** Not started yet. */
  readonly bus: CanBus;
  readonly kind: BusKind;
  /** One sentence for a person: which bus it is, and why. */
  readonly reason: string;
}

/** The default socket of the userspace bus of this name. */
export function defaultBusSocket(name: string): string {
  return join(runtimeFolder(), `${name}.sock`);
}

/**
 * Reads a bus as the command line writes it: `can0` (SocketCAN when the kernel has the interface, else the userspace
 * bus), `socketcan:can0`, `userspace:can0`, and for the userspace bus a socket of its own after `@`:
 * `userspace:can0@/path/to.sock` or `can0@/path/to.sock`.
 * @throws KerbError BadConfig
 */
export function parseBusSpec(spec: string): BusChoice {
  const match = /^(?:(auto|socketcan|userspace):)?([^:@/\s]{1,15})(?:@(\/.+))?$/.exec(spec);
  if (match === null || match[2] === '.' || match[2] === '..' || (match[1] === 'socketcan' && match[3] !== undefined)) {
    throw new KerbError(
      ErrorCode.BadConfig,
      `"${spec}" is not a valid CAN bus: it must be like can0, socketcan:can0, userspace:can0 or userspace:can0@/path/to.sock`,
      { spec },
    );
  }
  const kind = (match[1] ?? 'auto') as BusChoice['kind'];
  return match[3] === undefined ? { name: match[2]!, kind } : { name: match[2]!, kind, socketPath: match[3] };
}

/** Chooses the bus and makes it; `start()` attaches. Says which one and why. */
export function openBus(choice: BusChoice, options: OpenBusOptions = {}): OpenedBus {
  const { name, kind } = choice;
  const log = options.log ?? silentLog();
  const socketPath = choice.socketPath ?? defaultBusSocket(name);
  const inKernel = kind !== 'userspace' && isCanInterface(name);
  if (kind === 'socketcan' || inKernel) {
    const reason =
      kind === 'socketcan'
        ? `${name} is SocketCAN, as asked`
        : `${name} is SocketCAN: the kernel has a CAN interface of that name`;
    return { bus: new SocketCanBus({ name, log, core: options.core }), kind: 'socketcan', reason };
  }
  const client = options.client ?? `kerbside ${process.pid}`;
  const reason =
    kind === 'userspace'
      ? `${name} is the userspace bus at ${socketPath}, as asked`
      : `${name} is the userspace bus at ${socketPath}: the kernel has no CAN interface of that name`;
  return { bus: new UserspaceBus({ name, socketPath, client, log, core: options.core }), kind: 'userspace', reason };
}
