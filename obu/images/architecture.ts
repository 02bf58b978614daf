/** Checks that the machine of an engine can run an image. */
import { readFile } from 'node:fs/promises';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { type Engine, withTimeout } from '../engine/docker-client.ts';
import type { Workload } from '../manifest/workload.ts';
import { findImage } from './find-image.ts';

/**
 * An engine that is slower than this when a manifest is applied is not waited for: what starts later is checked again.
 */
const CHECK_TIMEOUT_MS = 5000;

/** By what an engine's machine is: which other images it runs by itself. */
const runsToo: Readonly<Record<string, readonly string[]>> = { amd64: ['386'], arm64: ['arm'] };

/** The kernel's name for an emulator (binfmt_misc), by Go's name for the architecture. */
const emulators: Readonly<Record<string, string>> = {
  amd64: 'x86_64',
  '386': 'i386',
  arm64: 'aarch64',
  arm: 'arm',
  riscv64: 'riscv64',
  ppc64le: 'ppc64le',
  s390x: 's390x',
  mips64le: 'mips64el',
};

const known = new WeakMap<Engine, string>();

async function architectureOf(engine: Engine): Promise<string> {
  const before = known.get(engine);
  if (before !== undefined) return before;
  const { Arch } = await engine.calls.version();
  known.set(engine, Arch);
  return Arch;
}

/** @throws KerbError ContainerFailed when the machine of the engine cannot run an image of this architecture */
export async function mustRunHere(engine: Engine, image: string, architecture: string | undefined): Promise<void> {
  const fault = await faultOf(engine, image, architecture ?? '');
  if (fault !== undefined) throw new KerbError(ErrorCode.ContainerFailed, fault, { image });
}

/**
 * Looks at the images that are on the engine already; what is missing, or an engine that does not answer, is no fault
 * here.
 * @param except images that are about to be replaced
 * @throws KerbError WrongArchitecture that names every workload which could never start
 */
export async function checkArchitectures(
  engine: Engine,
  workloads: readonly Pick<Workload, 'name' | 'image'>[],
  except: ReadonlySet<string> = new Set(),
): Promise<void> {
  const check = async ({ name, image }: Pick<Workload, 'name' | 'image'>) => {
    const found = except.has(image) ? undefined : await findImage(engine, image);
    const fault = found && (await faultOf(engine, image, found.architecture));
    return fault === undefined ? [] : [`workload ${name}: ${fault}`];
  };
  const faults = await withTimeout(Promise.all(workloads.map(check)), CHECK_TIMEOUT_MS).catch(() => []);
  const all = faults.flat();
  if (all.length > 0) throw new KerbError(ErrorCode.WrongArchitecture, all.join('; '), { faults: all });
}

async function faultOf(engine: Engine, image: string, architecture: string): Promise<string | undefined> {
  if (architecture === '') return undefined;
  const here = await architectureOf(engine);
  if (architecture === here || runsToo[here]?.includes(architecture)) return undefined;
  if (engine.host.startsWith('unix://') && (await isEmulated(architecture))) return undefined;
  return `image ${image} is for ${architecture}, and this machine is ${here}; build or load one for ${here}`;
}

async function isEmulated(architecture: string): Promise<boolean> {
  const name = emulators[architecture];
  if (name === undefined) return false;
  const handler = await readFile(`/proc/sys/fs/binfmt_misc/qemu-${name}`, 'utf8').catch(() => '');
  return handler.startsWith('enabled');
}
