import type { Socket } from 'node:net';
import { Deadline } from '../../../shared/base/deadline.ts';
import { type KerbError, messageOf } from '../../../shared/base/errors.ts';
import { CallWriter } from './call-writer.ts';
import type { TenderOutcome } from './tender.ts';
import { INLINE_MAX, type OutcomeFrame, RELEASE_FRAME } from './tender-frames.ts';
import type { TenderMemory } from './tender-memory.ts';
import { outcomeOf } from './tender-outcome.ts';

/**
 * A tender that does not answer this long after the budget is killed. The tender itself keeps the budget to a fraction of
 * a millisecond; this is for one that hangs, and 50 ms of it were seen to hit healthy ones on a board with busy cores.
 */
const BACKSTOP_MS = 250;

interface PendingCall {
  readonly resolve: (frame: OutcomeFrame) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The calls of one tender, one at a time. Hot path: one call is one write, one chunk back, and no copy of an output that
 * arrived in one piece.
 */
export class TenderCalls {
  readonly #writer = new CallWriter();
  readonly #fail: (reason: string) => KerbError;
  readonly #onDone: () => void;
  #pending: PendingCall | undefined;
  /** For payloads that are too large for the socket; undefined before the tender has opened it, and after its end. */
  memory: TenderMemory | undefined;

  /**
   * @param fail gives the tender up
   * @param onDone a call has an outcome
   */
  constructor(fail: (reason: string) => KerbError, onDone: () => void) {
    this.#fail = fail;
    this.#onDone = onDone;
  }

  /** @param maxOutput bytes, as the image declares. @throws KerbError TenderDied */
  async run(socket: Socket, input: Uint8Array, budgetMs: number, maxOutput: number): Promise<TenderOutcome> {
    const deadline = new Deadline(budgetMs);
    const answer = new Promise<OutcomeFrame>((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
    let backstop: NodeJS.Timeout | undefined;
    let frame: OutcomeFrame;
    try {
      if (input.length > INLINE_MAX) {
        // Should the tender die during the copy, that is found out below.
        answer.catch(() => {});
        await this.#copyIn(input);
      }
      // What copying took is the caller's time too.
      const budgetNs = Math.max(1, Math.floor(deadline.leftMs() * 1e6));
      this.#writer.send(socket, input, budgetNs);
      backstop = this.#armBackstop(budgetNs / 1e6);
      frame = await answer;
    } finally {
      clearTimeout(backstop);
      this.#pending = undefined;
    }
    const output = frame.output ?? (await this.#copyOut(socket, frame.outputSize));
    const outcome = outcomeOf(frame, output, maxOutput);
    this.#onDone();
    return outcome;
  }

  /** What the tender has sent. False: nobody asked for it. */
  answer(frame: OutcomeFrame): boolean {
    this.#pending?.resolve(frame);
    return this.#pending !== undefined;
  }

  /** The tender has ended. */
  abort(error: KerbError): void {
    this.#pending?.reject(error);
  }

  async #copyIn(input: Uint8Array): Promise<void> {
    try {
      await this.memory?.write(input);
    } catch (error) {
      throw this.#fail(`does not take its input: ${messageOf(error)}`);
    }
  }

  async #copyOut(socket: Socket, size: number): Promise<Buffer> {
    try {
      if (this.memory === undefined) throw new Error('it has ended');
      const output = await this.memory.read(size);
      socket.write(RELEASE_FRAME);
      return output;
    } catch (error) {
      throw this.#fail(`does not give its output: ${messageOf(error)}`);
    }
  }

  /** Kills the tender when it lets the budget pass by more than the backstop. */
  #armBackstop(budgetMs: number): NodeJS.Timeout {
    const call = this.#pending;
    return setTimeout(() => {
      // An answer that waits in the socket, because this process was the slow one, is read before the next line runs.
      setImmediate(() => {
        if (this.#pending === call) this.#fail(`did not answer within ${BACKSTOP_MS} ms after its budget`);
      });
    }, budgetMs + BACKSTOP_MS);
  }
}
