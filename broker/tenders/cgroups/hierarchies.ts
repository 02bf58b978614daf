/** Finds the control group that this process is in. Pure: the texts of /proc/self/cgroup and /proc/self/mountinfo in. */

export const CONTROLLERS = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof CONTROLLERS)[number];

/** Folders of the own group: cgroup v2 has one, version 1 one for each controller (cgroups(7)). */
export type OwnGroup =
  | { readonly version: 2; readonly folder: string; readonly isRoot: boolean; readonly mount: string }
  | { readonly version: 1; readonly folders: ReadonlyMap<Controller, string> };

interface Mount {
  readonly root: string;
  readonly folder: string;
  readonly type: string;
  /** Of the file system: the controllers of version 1 are among them. */
  readonly options: readonly string[];
}

/** @returns undefined when none of the three controllers is mounted where this process sees it */
export function findOwnGroup(selfCgroup: string, mountinfo: string): OwnGroup | undefined {
  const mounts = mountinfo.split('\n').flatMap(parseMount);
  const folders = new Map<Controller, string>();
  let unified: string | undefined;
  for (const line of selfCgroup.split('\n')) {
    const [, id, names, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (id === '0' && names === '') unified = path;
    for (const controller of CONTROLLERS) {
      if (!names!.split(',').includes(controller)) continue;
      const folder = folderOf(
        path,
        mounts.find(({ type, options }) => type === 'cgroup' && options.includes(controller)),
      );
      if (folder !== undefined) folders.set(controller, folder);
    }
  }
  if (folders.size > 0) return { version: 1, folders };
  const mount = mounts.find(({ type }) => type === 'cgroup2');
  if (unified === undefined || mount === undefined) return undefined;
  const folder = folderOf(unified, mount);
  return folder === undefined
    ? undefined
    : { version: 2, folder, isRoot: folder === mount.folder, mount: mount.folder };
}

/** The folder of a group whose path counts from the root of its hierarchy; undefined when it is outside of what is mounted. */
function folderOf(path: string, mount: Mount | undefined): string | undefined {
  if (mount === undefined || path.split('/').includes('..')) return undefined;
  const root = mount.root === '/' ? '' : mount.root;
  if (path !== root && !path.startsWith(`${root}/`)) return undefined;
  const below = path.slice(root.length).replace(/\/+$/, '');
  return mount.folder + below;
}

/** proc(5): ID, parent, device, root, mount point, options, optional fields, "-", type, source, options of the file system. */
function parseMount(line: string): Mount[] {
  const [before, after] = line.split(' - ');
  const [, , , root, folder] = before?.split(' ') ?? [];
  const [type, , options] = after?.split(' ') ?? [];
  if (root === undefined || folder === undefined || type === undefined) return [];
  return [{ root: decode(root), folder: decode(folder), type, options: options?.split(',') ?? [] }];
}

/** Blanks and such are octal there. */
function decode(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
