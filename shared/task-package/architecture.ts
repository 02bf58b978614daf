/** The machines that tasks are built for, in the words of a package; as `uname -m` names them. */
export const ARCHITECTURES = ['x86_64', 'aarch64'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** The architecture of this machine; undefined: no task is built for it. */
export function hostArchitecture(): Architecture | undefined {
  return process.arch === 'x64' ? 'x86_64' : process.arch === 'arm64' ? 'aarch64' : undefined;
}
