import { createHash } from 'node:crypto';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import {
  type AnnouncedFacts,
  type AnnouncedLoad,
  encodeAnnouncement,
  encodeFacts,
} from '../../shared/discovery/announcement.ts';
import { certificateHashOf, signFacts } from '../../shared/discovery/signature.ts';
import type { Identity } from '../../shared/identity/identity.ts';

/** The facts that may change while a broker runs. */
export interface ServedFacts {
  readonly tasks: readonly { readonly digest: string }[];
  readonly isolations: readonly string[];
}

export interface AnnouncerOptions {
  readonly identity: Identity;
  readonly place: Pick<AnnouncedFacts, 'host' | 'kind' | 'position' | 'rangeM'>;
  /** The port where vehicles connect; asked each time, because it is known late. */
  readonly port: () => number;
  readonly served: () => ServedFacts;
  readonly neighbours: () => readonly string[];
  readonly load: () => AnnouncedLoad;
  /** False while it takes no offloads: then it says nothing. */
  readonly isServing: () => boolean;
  readonly send: (datagram: Buffer) => void;
  readonly log: Logger;
}

/** Milliseconds between two announcements, and how far they are spread, so that brokers do not speak at once for long. */
const EVERY_MS = 250;
const SPREAD = 0.2;
/** The same facts are signed again after so many milliseconds: an announcement that was recorded is soon too old. */
const SIGN_AGAIN_MS = 20_000;

/** Says again and again that this broker is there. What has not changed is signed once; the load is of the moment. */
export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #instance = Date.now();
  #identity: Identity;
  #changes = 0;
  #said = '';
  #signedAt = 0;
  #signed: { readonly facts: Buffer; readonly signature: Buffer; readonly certificate: Buffer } | undefined;
  #signing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #fault = '';
  #isStopped = false;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  /** Resolves when the first announcement is signed. What keeps it from signing is logged, and nothing is announced. */
  async start(): Promise<void> {
    await this.#sign();
    this.#next();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** From now on it shows this identity. */
  renew(identity: Identity): void {
    this.#identity = identity;
    this.#said = '';
  }

  /** True: these facts are of this process, heard back from the network or from a neighbour. */
  isOwn({ broker, instance, certificateHash }: AnnouncedFacts): boolean {
    if (broker !== this.#identity.self.id || instance !== this.#instance || this.#signed === undefined) return false;
    return certificateHash === certificateHashOf(this.#signed.certificate);
  }

  /** The announcement of this moment, with the certificate that it is signed with; undefined: there is none. */
  current(): { readonly datagram: Buffer; readonly certificate: Buffer } | undefined {
    const { isServing, load } = this.#options;
    void this.#sign();
    const signed = this.#signed;
    if (signed === undefined || !isServing()) return undefined;
    return { datagram: encodeAnnouncement(signed.facts, signed.signature, load()), certificate: signed.certificate };
  }

  #next(): void {
    if (this.#isStopped) return;
    const spread = (Math.random() * 2 - 1) * SPREAD;
    this.#timer = setTimeout(
      () => {
        const current = this.current();
        if (current !== undefined) this.#options.send(current.datagram);
        this.#next();
      },
      EVERY_MS * (1 + spread),
    );
  }

  #sign(): Promise<void> {
    const { place, port, served, neighbours } = this.#options;
    const { tasks, isolations } = served();
    const facts = {
      ...{ host: place.host, kind: place.kind, position: place.position, rangeM: place.rangeM, port: port() },
      ...{ isolations, neighbours: neighbours(), tasksHash: tasksHashOf(tasks.map(({ digest }) => digest)) },
    };
    const said = JSON.stringify(facts);
    const isFresh = performance.now() - this.#signedAt < SIGN_AGAIN_MS;
    if (facts.port === 0 || this.#signing !== undefined || (said === this.#said && isFresh)) {
      return this.#signing ?? Promise.resolve();
    }
    this.#said = said;
    this.#signedAt = performance.now();
    this.#signing = this.#signNow(facts).finally(() => {
      this.#signing = undefined;
    });
    return this.#signing;
  }

  async #signNow(
    facts: Omit<AnnouncedFacts, 'broker' | 'instance' | 'changes' | 'issuedAt' | 'certificateHash'>,
  ): Promise<void> {
    const { self } = this.#identity;
    try {
      const { key, certificate } = this.#identity.signingKey();
      const bytes = encodeFacts({
        ...facts,
        broker: self.id,
        instance: this.#instance,
        changes: ++this.#changes,
        issuedAt: Date.now(),
        certificateHash: certificateHashOf(certificate),
      });
      const signature = await signFacts(bytes, key);
      // Throws when it would be too long.
      encodeAnnouncement(bytes, signature, { queueMs: 0, freeTenders: 0 });
      this.#signed = { facts: bytes, signature, certificate };
      this.#fault = '';
    } catch (error) {
      this.#signed = undefined;
      const fault = messageOf(error);
      if (fault !== this.#fault)
        this.#options.log.error({ broker: self.id, err: fault }, 'this broker cannot announce itself');
      this.#fault = fault;
    }
  }
}

/** The same for the same tasks: first half of the SHA-256 of their digests, sorted, a line feed after each. */
export function tasksHashOf(digests: readonly string[]): string {
  const text = [...digests].sort().map((digest) => `${digest}\n`);
  return createHash('sha256').update(text.join('')).digest('hex').slice(0, 32);
}
