import type { KerbError } from '../../shared/base/errors.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import {
  badPush,
  decodePush,
  encodePushRefusal,
  encodePushState,
  type FileOffer,
  MAX_PUSH_MESSAGE,
  MAX_UNACKNOWLEDGED,
  type PushOutcome,
  type PushStep,
} from '../../shared/task-package/push-codec.ts';
import type { PushLimits } from './push-limits.ts';
import type { IncomingPackage, PushedPackages } from './pushed-packages.ts';

/** The pushes of one connection. */
export interface PushClient {
  /** Takes one encoded PushRequest and gives the encoded PushReply. Never rejects. */
  take(message: Uint8Array): Promise<Uint8Array>;
  /** Nothing more will come: what is not complete is taken back. */
  end(): Promise<void>;
}

/** Decides over the steps of a push, for all connections. */
export interface UploadRules {
  checkMayPush(client: VehiclePrincipal): void;
  isThere(digest: string, files: readonly FileOffer[], client: VehiclePrincipal): Promise<boolean>;
  reserve(digest: string, bytes: number, client: VehiclePrincipal): () => void;
  store(incoming: IncomingPackage, digest: string, client: VehiclePrincipal, bytes: number): Promise<PushOutcome>;
  remove(digest: string, client: VehiclePrincipal): Promise<PushOutcome>;
  failed(client: VehiclePrincipal, error: unknown): KerbError;
  ended(client: VehiclePrincipal, outcome: PushOutcome | 'broken_off'): void;
}

type State =
  | { readonly at: 'idle' }
  | {
      readonly at: 'receiving';
      readonly digest: string;
      readonly total: number;
      received: number;
      readonly incoming: IncomingPackage;
      readonly release: () => void;
    }
  /** Data that was sent before the refusal arrived gets the same answer. */
  | { readonly at: 'failed'; readonly error: KerbError };

/**
 * Takes the steps of one connection's pushes one after the other. Whatever it sends, it costs no more than its
 * reservation.
 */
export class PushSession implements PushClient {
  readonly #client: VehiclePrincipal;
  readonly #rules: UploadRules;
  readonly #pushed: PushedPackages;
  readonly #limits: PushLimits;
  readonly #onEnd: () => void;
  #state: State = { at: 'idle' };
  readonly #steps = new SerialQueue();
  #waiting = 0;
  #stall: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(
    client: VehiclePrincipal,
    rules: UploadRules,
    pushed: PushedPackages,
    limits: PushLimits,
    onEnd: () => void,
  ) {
    this.#client = client;
    this.#rules = rules;
    this.#pushed = pushed;
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  take(message: Uint8Array): Promise<Uint8Array> {
    // Checked before it waits for its turn: what waits is bounded.
    if (message.length > MAX_PUSH_MESSAGE || this.#waiting >= MAX_UNACKNOWLEDGED) {
      const what =
        message.length > MAX_PUSH_MESSAGE
          ? `a message has ${message.length} bytes; the limit is ${MAX_PUSH_MESSAGE}`
          : `more than ${MAX_UNACKNOWLEDGED} messages are unacknowledged`;
      return this.#steps.run(() => this.#fail(badPush(what)));
    }
    this.#waiting++;
    return this.#steps.run(async () => {
      try {
        // The client does not get this answer any more, and it is not counted as a failure: `end` reports the push.
        if (this.#ended) return encodePushRefusal(badPush('the connection was closed'));
        return encodePushState(await this.#step(message));
      } catch (error) {
        return await this.#fail(error);
      } finally {
        this.#waiting--;
      }
    });
  }

  end(): Promise<void> {
    this.#ended = true;
    return this.#steps.run(async () => {
      if (this.#state.at === 'receiving') this.#rules.ended(this.#client, 'broken_off');
      await this.#close({ at: 'idle' }).catch(() => {});
      this.#onEnd();
    });
  }

  async #step(message: Uint8Array): Promise<PushOutcome> {
    const step = decodePush(message);
    const state = this.#state;
    if (step.step === 'data') return await this.#receive(step.data);
    if (state.at === 'receiving') throw badPush('another one is under way on this connection');
    this.#state = { at: 'idle' };
    this.#rules.checkMayPush(this.#client);
    const outcome =
      step.step === 'open' ? await this.#begin(step) : await this.#rules.remove(step.digest, this.#client);
    if (outcome !== 'RECEIVING') this.#rules.ended(this.#client, outcome);
    return outcome;
  }

  async #begin({ digest, files }: Extract<PushStep, { step: 'open' }>): Promise<PushOutcome> {
    if (await this.#rules.isThere(digest, files, this.#client)) return 'ALREADY_THERE';
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const release = this.#rules.reserve(digest, total, this.#client);
    try {
      const incoming = await this.#pushed.begin(files);
      this.#state = { at: 'receiving', digest, total, received: 0, incoming, release };
    } catch (error) {
      release();
      throw error;
    }
    this.#watch();
    return 'RECEIVING';
  }

  async #receive(data: Uint8Array): Promise<PushOutcome> {
    const state = this.#state;
    if (state.at === 'failed') throw state.error;
    if (state.at === 'idle') throw badPush('there is data, and no push that it belongs to');
    state.received += data.length;
    if (data.length === 0) throw badPush('a piece of data is empty');
    if (state.received > state.total) throw badPush(`more than the ${state.total} bytes that were announced came`);
    this.#watch();
    const complete = await state.incoming.write(data);
    if (!complete) return 'RECEIVING';
    clearTimeout(this.#stall);
    const outcome = await this.#rules.store(state.incoming, state.digest, this.#client, state.total);
    await this.#close({ at: 'idle' });
    this.#rules.ended(this.#client, outcome);
    return outcome;
  }

  async #fail(error: unknown): Promise<Uint8Array> {
    const before = this.#state;
    if (before.at === 'failed' && before.error === error) return encodePushRefusal(before.error);
    const told = this.#rules.failed(this.#client, error);
    // Nothing that goes wrong on the way back changes what has gone wrong.
    await this.#close({ at: 'failed', error: told }).catch(() => {});
    return encodePushRefusal(told);
  }

  async #close(next: State): Promise<void> {
    clearTimeout(this.#stall);
    const before = this.#state;
    this.#state = next;
    if (before.at !== 'receiving') return;
    await before.incoming.discard().finally(before.release);
  }

  /** A push that stands still keeps others from the tenant's quota. */
  #watch(): void {
    clearTimeout(this.#stall);
    const { stallMs } = this.#limits;
    const state = this.#state;
    this.#stall = setTimeout(() => {
      void this.#steps.run(async () => {
        if (this.#state === state) await this.#fail(badPush(`nothing came for ${stallMs} ms; it was given up`));
      });
    }, stallMs);
  }
}
