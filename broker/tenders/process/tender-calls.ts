import type { Socket } from 'node:net';
import { Deadline } from '../../../shared/base/deadline.ts';
import { type KerbError, messageOf } from '../../../shared/base/errors.ts';
import { LateWatch } from '../watch/late-watch.ts';
import type { LateLimits } from '../watch/lateness.ts';
import { CallWriter } from './call-writer.ts';
import type { TenderOutcome } from './tender.ts';
import { INLINE_MAX, type OutcomeFrame, RELEASE_FRAME } from './tender-frames.ts';
import type { TenderMemory } from './tender-memory.ts';
import { outcomeOf } from './tender-outcome.ts';

/**
 * The tender itself keeps the budget to a fraction of a millisecond of CPU time. One that hangs is killed after 250 ms; one
 * that gets no processor on a busy machine is not at fault, and has 3 s.
 */
const BACKSTOP: LateLimits = { afterMs: 250, cpuMs: 100, atMostMs: 3_000 };

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
  readonly #fail: (reason: string, starved?: boolean) => KerbError;
  readonly #onDone: () => void;
  #pending: PendingCall | undefined;
  /** For payloads that are too large for the socket; undefined before the tender has opened it, and after its end. */
  memory: TenderMemory | undefined;

  /**
   * @param fail gives the tender up; starved: it is not its fault
   * @param onDone a call has an outcome
   */
  constructor(fail: (reason: string, starved?: boolean) => KerbError, onDone: () => void) {
    this.#fail = fail;
    this.#onDone = onDone;
  }

  /**
   * @param pid of the tender, for a look at it when it is late
   * @param maxOutput bytes, as the image declares
   * @throws KerbError TenderDied
   */
  async run(
    socket: Socket,
    pid: number | undefined,
    input: Uint8Array,
    budgetMs: number,
    maxOutput: number,
  ): Promise<TenderOutcome> {
    const deadline = new Deadline(budgetMs);
    const answer = new Promise<OutcomeFrame>((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
    let backstop: LateWatch | undefined;
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
      backstop = this.#watch(pid, budgetNs / 1e6);
      frame = await answer;
    } finally {
      backstop?.clear();
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
  #watch(pid: number | undefined, budgetMs: number): LateWatch {
    return new LateWatch(pid, budgetMs, BACKSTOP, (starved) => {
      if (starved) this.#fail(`got no processor within ${BACKSTOP.atMostMs} ms after its budget`, true);
      else this.#fail(`did not answer within ${BACKSTOP.afterMs} ms after its budget`);
    });
  }
}
