import { existsSync, readdirSync } from 'node:fs';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** The CAN bus of the main job. */
export interface BusChoice {
  /** As `kerb can` and the simulator take it. */
  readonly spec: string;
  /** As `obu.yaml` has it under `buses`. */
  readonly config: object;
  readonly why: string;
  /** Nothing is simulated on a bus that is hardware. */
  readonly hardware: boolean;
}

/**
 * `vcan0` where the kernel has it, else the userspace bus.
 * @param can SocketCAN interface that a person asked for
 * @param socket where a userspace bus would be served
 * @throws KerbError BusUnavailable when there is no such interface
 */
export function chooseBus(can: string | undefined, socket: string): BusChoice {
  const wanted = can ?? 'vcan0';
  const inKernel = readdirSync('/sys/class/net').includes(wanted);
  if (can && !inKernel) {
    throw new KerbError(
      ErrorCode.BusUnavailable,
      `there is no network interface '${can}'; 'ip link show type can' lists what there is`,
    );
  }
  if (inKernel) {
    return {
      spec: `socketcan:${wanted}`,
      config: { kind: 'socketcan', interface: wanted },
      why: `SocketCAN interface ${wanted}`,
      // A virtual interface (vcan, vxcan) has no device behind it.
      hardware: existsSync(`/sys/class/net/${wanted}/device`),
    };
  }
  return {
    spec: `userspace:can0@${socket}`,
    config: { kind: 'userspace', socket },
    why: 'this kernel has no interface vcan0: using the userspace bus',
    hardware: false,
  };
}
