import { createHash, type Hash } from 'node:crypto';
import { lstat, open, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** One file of a build context. Times and owners of the machine are left out, so that equal content is equal. */
export interface ContentFile {
  /** Relative, with slashes. */
  readonly path: string;
  readonly mode: number;
  readonly body:
    | { readonly file: string }
    | { readonly text: string }
    | { readonly link: string }
    /** A folder with nothing in it; others come with what is in them. */
    | { readonly empty: true };
}

/** Contexts above this are a mistake: a node_modules, a data set. */
export const MAX_CONTEXT_BYTES = 512 * 1024 * 1024;

const HASH_CHUNK_BYTES = 1 << 20;

/** Every file and empty folder below a folder, sorted; links stay links. @throws KerbError ImageBuildFailed */
export async function filesBelow(folder: string, prefix = ''): Promise<ContentFile[]> {
  const files: ContentFile[] = [];
  const entries = await readdir(join(folder, prefix), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    const file = join(folder, path);
    if (entry.isDirectory()) {
      const below = await filesBelow(folder, path);
      if (below.length === 0) files.push({ path, mode: 0o755, body: { empty: true } });
      else files.push(...below);
    } else if (entry.isSymbolicLink()) {
      files.push({ path, mode: 0o777, body: { link: await readlink(file) } });
    } else if (entry.isFile()) {
      const { mode } = await lstat(file);
      files.push({ path, mode: (mode & 0o111) === 0 ? 0o644 : 0o755, body: { file } });
    } else {
      throw new KerbError(
        ErrorCode.ImageBuildFailed,
        `${file} is not a regular file, directory or symbolic link: an image cannot hold it`,
      );
    }
  }
  return files;
}

/** Hash of paths, modes and contents, in hex. */
export async function contentHash(files: readonly ContentFile[], salt: readonly string[] = []): Promise<string> {
  // Four times as fast as SHA-256 without instructions for that: it goes over all of Node at each build of a workload.
  const hash = createHash('blake2b512').update(JSON.stringify(salt));
  for (const { path, mode, body } of files) {
    const kind = Object.keys(body)[0]!;
    if ('file' in body) await addFile(hash, [path, mode, kind], body.file);
    else {
      const bytes = await bytesOf(body);
      hash.update(JSON.stringify([path, mode, kind, bytes.length])).update(bytes);
    }
  }
  return hash.digest('hex');
}

/** Through one small buffer: fresh memory for a large file costs more than its hash. */
async function addFile(hash: Hash, head: readonly unknown[], file: string): Promise<void> {
  const handle = await open(file);
  try {
    hash.update(JSON.stringify([...head, (await handle.stat()).size]));
    const buffer = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/** With an entry for each folder that has something in it, in front of that: what unpacks them would choose modes of its own. */
export function withFolders(files: readonly ContentFile[]): ContentFile[] {
  const folders = new Set<string>();
  return files.flatMap((file) => {
    const names = file.path.split('/').slice(0, -1);
    const above = names.map((_, i) => names.slice(0, i + 1).join('/')).filter((folder) => !folders.has(folder));
    for (const folder of above) folders.add(folder);
    return [...above.map((path): ContentFile => ({ path, mode: 0o755, body: { empty: true } })), file];
  });
}

async function bytesOf(body: ContentFile['body']): Promise<Buffer> {
  if ('file' in body) return await readFile(body.file);
  if ('empty' in body) return Buffer.alloc(0);
  return Buffer.from('text' in body ? body.text : body.link);
}

/** A tar of these files, made while it is read. Its errors come out of the stream. */
export function tarOf(files: readonly ContentFile[]): Readable {
  const tar = pack();
  void (async () => {
    for (const { path, mode, body } of files) {
      if ('link' in body) tar.entry({ name: path, mode, type: 'symlink', linkname: body.link });
      else if ('empty' in body) tar.entry({ name: path, mode, mtime: new Date(0), type: 'directory' });
      else tar.entry({ name: path, mode, mtime: new Date(0) }, await bytesOf(body));
    }
    tar.finalize();
  })().catch((error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))));
  return Readable.from(tar);
}
