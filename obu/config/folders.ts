import { mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { StateLayout } from './state-layout.ts';

/** Makes a folder and those above it. @throws KerbError BadConfig */
export async function makeFolder(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, ...(mode !== undefined && { mode }) });
  } catch (error) {
    throw new KerbError(ErrorCode.BadConfig, `folder ${path} cannot be made: ${messageOf(error)}`, { path });
  }
}

/** The folders of one OBU that only its own user may enter. */
export class OwnFolders {
  readonly #layout: Pick<StateLayout, 'runtime' | 'data'>;

  constructor(layout: Pick<StateLayout, 'runtime' | 'data'>) {
    this.#layout = layout;
  }

  /** @throws KerbError BadConfig */
  async start(): Promise<void> {
    const { runtime, data } = this.#layout;
    await makeFolder(dirname(runtime));
    await makeFolder(runtime, 0o700);
    await makeFolder(data, 0o700);
  }

  /** Only when it is empty: containers that outlived an OBU, and their engine, still have their files there. */
  async stop(): Promise<void> {
    await rmdir(this.#layout.runtime).catch(() => {});
  }
}
