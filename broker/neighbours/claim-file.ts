import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { isErrno, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';

const schema = z.array(
  z.strictObject({
    neighbour: z.string(),
    tenant: z.string(),
    vehicle: z.string(),
    id: z.string(),
    /** Milliseconds since 1970. */
    until: z.number(),
  }),
);
export type StoredClaim = z.infer<typeof schema>[number];

/** In the state folder: who is to get which result, so that a broker that was killed still forwards what it has kept. */
export class ClaimFile {
  readonly #path: string;
  readonly #log: Logger;
  readonly #writes = new SerialQueue();
  #next: readonly StoredClaim[] | undefined;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** A file that cannot be read is reported, and forgotten: vehicles ask again. */
  async read(): Promise<StoredClaim[]> {
    try {
      return schema.parse(JSON.parse(await readFile(this.#path, 'utf8')));
    } catch (error) {
      if (!isErrno(error, 'ENOENT'))
        this.#log.error({ path: this.#path, err: messageOf(error) }, 'claims cannot be read');
      return [];
    }
  }

  /** Resolves when they, or newer ones, are on the disk, or cannot be written. */
  async write(claims: readonly StoredClaim[]): Promise<void> {
    this.#next = claims;
    await this.#writes.run(async () => {
      const next = this.#next;
      this.#next = undefined;
      if (next === undefined) return;
      try {
        await writeFileAtomically(this.#path, JSON.stringify(next), { mode: 0o600 });
      } catch (error) {
        this.#log.error({ path: this.#path, err: messageOf(error) }, 'claims cannot be written');
      }
    });
  }
}
