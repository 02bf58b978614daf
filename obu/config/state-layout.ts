import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { runtimeFolder } from '../../shared/host/runtime-folder.ts';

/**
 * Files and folders of one OBU. Sockets are in a short folder of their own: the path of a Unix socket has 107 bytes.
 */
export interface StateLayout {
  /** 12 hex digits that stand for the state folder. */
  readonly stateHash: string;
  /** Folder for files that do not survive a reboot: sockets, pid files. Mode 0700. */
  readonly runtime: string;
  /** A folder per workload, mounted into its container; in it the gateway socket. */
  readonly gateways: string;
  /** A folder per workload, mounted into its container as /data. */
  readonly data: string;
  /** The database that survives a power cut, see obu/state. */
  readonly database: string;
  /** Its modification time is the last time that the OBU ran. */
  readonly clock: string;
  readonly engine: {
    readonly dataRoot: string;
    readonly execRoot: string;
    readonly socket: string;
    readonly pidFile: string;
    readonly configFile: string;
    readonly log: string;
  };
}

/** @param state The state folder; it has to exist. */
export function stateLayout(state: string): StateLayout {
  const real = realpathSync(state);
  const stateHash = createHash('sha256').update(real).digest('hex').slice(0, 12);
  const runtime = join(runtimeFolder(), stateHash);
  return {
    stateHash,
    runtime,
    gateways: join(runtime, 'gateways'),
    data: join(real, 'data'),
    database: join(real, 'obu.db'),
    clock: join(real, 'clock'),
    engine: {
      dataRoot: join(real, 'engine'),
      execRoot: join(runtime, 'engine'),
      socket: join(runtime, 'docker.sock'),
      pidFile: join(runtime, 'dockerd.pid'),
      configFile: join(runtime, 'dockerd.json'),
      log: join(real, 'dockerd.log'),
    },
  };
}
