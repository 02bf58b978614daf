import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onPath, type Peer } from './peer.ts';
import { runProgram } from './process.ts';

const GUEST = fileURLToPath(new URL('../../build/bench/microvm.elf', import.meta.url));
/** What isa-debug-exit makes of the 0x10 that the guest writes: the guest has run, and nothing else ended QEMU. */
const GUEST_HAS_RUN = 33;
const TIMEOUT_MS = 20_000;

/**
 * QEMU's smallest machine, from nothing to the first instruction of a guest that then ends it: the whole process.
 * @throws Error why there is none here
 */
export async function qemuMicrovm(accelerator: 'tcg' | 'kvm', path?: string): Promise<Peer> {
  const qemu = onPath('qemu-system-x86_64', path);
  if (qemu === undefined) throw new Error('qemu-system-x86_64 is not on the PATH (Debian: qemu-system-x86)');
  if (!existsSync(GUEST)) throw new Error(`its guest ${GUEST} is not built: run npm run setup`);
  const args = [
    ...['-M', 'microvm,pit=off,pic=off,rtc=off,isa-serial=off,auto-kernel-cmdline=off', '-accel', accelerator],
    ...['-m', '16', '-bios', 'qboot.rom', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-device', 'isa-debug-exit,iobase=0x500,iosize=1', '-kernel', GUEST],
  ];
  const once = () => runProgram(qemu, args, { exitCode: GUEST_HAS_RUN, timeoutMs: TIMEOUT_MS });
  await once();
  return { once, stop: async () => {} };
}
