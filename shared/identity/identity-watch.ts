import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import type { Identity, Principal } from './identity.ts';
import {
  IDENTITY_FILES,
  REVOCATIONS_FILE,
  type ReadIdentity,
  readIdentity,
  staleRevocations,
} from './x509-identity.ts';

/** How often the folder and the clock are looked at, in milliseconds. */
const LOOK_MS = 1000;
/** An identity that expires sooner than this is called so. */
const SOON_MS = 30 * 86_400_000;

/**
 * `Valid` and `ExpiresSoon` (within 30 days) are good; `WaitingForClock`: the clock is before the certificate's beginning;
 * `Unusable`: nothing in the folder can be used.
 */
export type IdentityWord = 'Valid' | 'ExpiresSoon' | 'Expired' | 'WaitingForClock' | 'Unusable';

export interface IdentityState {
  readonly word: IdentityWord;
  /** One sentence; empty when there is nothing to say. */
  readonly reason: string;
  /** What is in the folder now and is not used, because what was there before is better; empty as a rule. */
  readonly folderFault: string;
  /** Milliseconds since 1970; undefined when nothing could be read. */
  readonly expiresAtMs: number | undefined;
}

/** Somebody's own identity, which may come late and may be replaced. */
export interface IdentitySource {
  /** Why there is none yet, or why nobody believes it any more; empty when it is good. */
  readonly trouble: string;
  /**
   * `use` is called with the identity whenever there is a good one that it has not seen, for the first time at once.
   * @returns what ends that
   */
  follow(use: (identity: Identity) => void): () => void;
}

/** One that is there and stays. */
export function fixedIdentity(identity: Identity): IdentitySource {
  return {
    trouble: '',
    follow: (use) => {
      use(identity);
      return () => {};
    },
  };
}

export interface IdentityWatchOptions {
  readonly dir: string;
  readonly kind: Principal['kind'];
  /** Whose it has to be. */
  readonly id: string;
  /** Something else is to be said about it now. */
  readonly onState?: (state: IdentityState) => void;
  /** It is another one than before. */
  readonly onRenewed?: (identity: Identity) => void;
  /** Milliseconds since 1970: certificates are about the wall clock. */
  readonly wallMs?: () => number;
}

/**
 * An identity directory that is looked at again and again. Nothing about it is fatal: a clock that is not set yet, a
 * certificate that has expired and a folder that is empty are waited for. A folder that is replaced is taken up when the
 * whole of it is good, and until then the identity of before stays. One that has been good is never taken away from those
 * who have it: whoever they speak to judges it.
 */
export class IdentityWatch implements IdentitySource {
  readonly #options: IdentityWatchOptions;
  readonly #wallMs: () => number;
  readonly #users = new Set<(identity: Identity) => void>();
  #known: ReadIdentity | undefined;
  /** What the users have. */
  #given: Identity | undefined;
  #signature = '';
  /** What is the matter with what is in the folder now. */
  #fault = 'it has not been read yet';
  #said = '';
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: IdentityWatchOptions) {
    this.#options = options;
    this.#wallMs = options.wallMs ?? Date.now;
  }

  /** Looks once, and then every second. */
  async start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
    await this.look();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#users.clear();
    await this.#looking;
  }

  get state(): IdentityState {
    const known = this.#known;
    if (known === undefined) {
      return { word: 'Unusable', reason: this.#fault, folderFault: '', expiresAtMs: undefined };
    }
    const nowMs = this.#wallMs();
    const word = wordOf(known, nowMs);
    const sentences = [
      word === 'Valid' ? '' : this.#sentence(word, known),
      staleRevocations(known, this.#options.dir, new Date(nowMs)),
    ];
    const reason = sentences.filter((sentence) => sentence !== '').join('; ');
    return { word, reason, folderFault: this.#fault, expiresAtMs: known.validTo.getTime() };
  }

  get trouble(): string {
    const { word, reason } = this.state;
    return isGood(word) ? '' : reason;
  }

  follow(use: (identity: Identity) => void): () => void {
    this.#users.add(use);
    if (this.#given !== undefined) use(this.#given);
    return () => this.#users.delete(use);
  }

  /** Looks now; never fails. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const signature = await signatureOf(this.#options.dir);
    // While something is wrong it is read anew each time: what is wrong need not show in the files' times.
    if (signature !== this.#signature || this.#fault !== '') await this.#read(signature);
    const { onState } = this.#options;
    this.#give();
    const state = this.state;
    const said = JSON.stringify([
      state.word,
      state.folderFault,
      state.expiresAtMs,
      this.#known === undefined ? state.reason : state.reason === '',
    ]);
    if (said === this.#said) return;
    this.#said = said;
    onState?.(state);
  }

  async #read(signature: string): Promise<void> {
    const { dir, kind, id } = this.#options;
    try {
      const read = await readIdentity(dir, kind);
      const { self } = read.identity;
      if (self.id !== id) {
        throw new KerbError(
          ErrorCode.BadIdentity,
          `the identity in ${dir} is that of ${self.kind} "${self.id}", and the configuration says "${id}"`,
        );
      }
      // Written while it was read: the next look has all of it.
      if ((await signatureOf(dir)) !== signature) return;
      const nowMs = this.#wallMs();
      this.#fault = this.#worse(read, nowMs);
      if (this.#fault === '') this.#known = read;
      this.#signature = signature;
    } catch (error) {
      this.#fault = messageOf(error);
      this.#signature = signature;
    }
  }

  /** Why what is known is better than what was read now; empty when it is not. */
  #worse(read: ReadIdentity, nowMs: number): string {
    const known = this.#known;
    if (known === undefined || !isGood(wordOf(known, nowMs))) return '';
    if (!isGood(wordOf(read, nowMs))) return this.#sentence(wordOf(read, nowMs), read);
    const { dir } = this.#options;
    const now = new Date(nowMs);
    if (known.hasRevocations && !read.hasRevocations) {
      return `the revocation list ${join(dir, REVOCATIONS_FILE)} cannot be found; what it revoked stays revoked until the file is there again, or a restart`;
    }
    return staleRevocations(known, dir, now) === '' ? staleRevocations(read, dir, now) : '';
  }

  /** Hands what is known to those who use it, once it is good. */
  #give(): void {
    const known = this.#known;
    if (known === undefined || known.identity === this.#given || !isGood(wordOf(known, this.#wallMs()))) return;
    const isRenewed = this.#given !== undefined;
    this.#given = known.identity;
    if (isRenewed) this.#options.onRenewed?.(known.identity);
    for (const use of this.#users) use(known.identity);
  }

  #sentence(word: IdentityWord, { validFrom, validTo, identity }: ReadIdentity): string {
    const { dir } = this.#options;
    const certificate = join(dir, IDENTITY_FILES.certificate);
    switch (word) {
      case 'WaitingForClock':
        return `waiting for the clock: it says ${isoOf(this.#wallMs())}, and the certificate ${certificate} is valid from ${validFrom.toISOString()}`;
      case 'Expired':
        return `the certificate ${certificate} expired on ${validTo.toISOString()}; renew it with ${renewalOf(identity.self, dir)}`;
      default:
        return `the certificate ${certificate} expires on ${validTo.toISOString()}; renew it with ${renewalOf(identity.self, dir)}`;
    }
  }
}

export function isGood(word: IdentityWord): boolean {
  return word === 'Valid' || word === 'ExpiresSoon';
}

/** The code under which a state is listed among the errors of a daemon. */
export function codeOf(word: IdentityWord): ErrorCode {
  switch (word) {
    case 'WaitingForClock':
      return ErrorCode.ClockNotSet;
    case 'Expired':
    case 'ExpiresSoon':
      return ErrorCode.IdentityExpired;
    default:
      return ErrorCode.BadIdentity;
  }
}

function wordOf({ validFrom, validTo }: ReadIdentity, nowMs: number): IdentityWord {
  if (nowMs < validFrom.getTime()) return 'WaitingForClock';
  const leftMs = validTo.getTime() - nowMs;
  if (leftMs < 0) return 'Expired';
  return leftMs < SOON_MS ? 'ExpiresSoon' : 'Valid';
}

function renewalOf(self: Principal, dir: string): string {
  const tenant = self.kind === 'vehicle' ? ` --tenant "${self.tenant}"` : '';
  return `kerb pki ${self.kind} ${self.id}${tenant} --ca CA --out ${dir} --force`;
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** Another text when a file was replaced or written to. */
async function signatureOf(dir: string): Promise<string> {
  const parts = await Promise.all(
    [...Object.values(IDENTITY_FILES), REVOCATIONS_FILE].map(async (name) => {
      try {
        const { ino, dev, size, mtimeMs, ctimeMs } = await stat(join(dir, name));
        return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
      } catch (error) {
        return messageOf(error);
      }
    }),
  );
  return parts.join('; ');
}
