import { stat } from 'node:fs/promises';
import { messageOf } from '../../shared/base/errors.ts';
import { readPolicy } from './parse-policy.ts';
import type { Policy, TenantPolicy } from './policy.ts';

/** How often the file is looked at, in milliseconds. */
const LOOK_MS = 1000;

export interface PolicyFileOptions {
  readonly file: string;
  readonly builtIn: TenantPolicy;
  /** Throws a KerbError where this broker cannot do what a policy that is valid says. */
  readonly check: (policy: Policy) => void;
  /** The file says something else from now on. */
  readonly onChange: (policy: Policy) => void;
  /** The file cannot be used, and what it said before stays. Once for each thing that is wrong. */
  readonly onFault: (error: unknown) => void;
}

/**
 * The policy file of a broker that runs. It is looked at every second and read when it has changed and then stood still
 * for a second, or at once when that is asked for. When it cannot be used, the policy of before stays, and a person is told.
 */
export class PolicyFile {
  readonly #options: PolicyFileOptions;
  /** Of what was read last. */
  #signature = '';
  /** Of what was found by the last look. */
  #seen = '';
  #fault = '';
  #loadedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #again = false;

  constructor(options: PolicyFileOptions) {
    this.#options = options;
  }

  /** Why the file as it is now is not used; empty when it is. */
  get fault(): string {
    return this.#fault;
  }
  get file(): string {
    return this.#options.file;
  }
  /** When the policy that counts was read, in milliseconds since 1970. */
  get loadedAt(): number {
    return this.#loadedAt;
  }

  /** @throws KerbError BadPolicy: there is no policy of before that could stay */
  async load(): Promise<Policy> {
    const { file, builtIn, check } = this.#options;
    this.#signature = await signatureOf(file);
    const policy = await readPolicy(file, builtIn);
    check(policy);
    this.#loadedAt = Date.now();
    return policy;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#looking;
  }

  /** Looks now, and reads the file if it is another one; never fails. @param anyway reads it in any case */
  look(anyway = false): Promise<void> {
    // Changes after a look has begun are for the next one.
    if (this.#looking !== undefined) this.#again ||= anyway;
    this.#looking ??= this.#look(anyway).finally(() => {
      this.#looking = undefined;
      if (this.#again) void this.look(true);
    });
    return this.#looking;
  }

  async #look(anyway: boolean): Promise<void> {
    this.#again = false;
    const { file, onChange, onFault } = this.#options;
    const signature = await signatureOf(file);
    const isStill = signature === this.#seen;
    this.#seen = signature;
    // Half of a file can be valid as well: while it is being written it is left alone.
    if (!anyway && (signature === this.#signature || !isStill)) return;
    try {
      const policy = await this.load();
      // Written while it was read: the next look has all of it.
      if ((await signatureOf(file)) !== this.#signature) return;
      this.#fault = '';
      onChange(policy);
    } catch (error) {
      const fault = messageOf(error);
      const isNew = fault !== this.#fault;
      this.#fault = fault;
      if (isNew || anyway) onFault(error);
    }
  }
}

/** Another text when the file was replaced or written to. */
async function signatureOf(file: string): Promise<string> {
  try {
    const { ino, dev, size, mtimeMs, ctimeMs } = await stat(file);
    return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch (error) {
    return messageOf(error);
  }
}
