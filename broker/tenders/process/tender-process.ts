import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { CallWriter } from './call-writer.ts';
import { readImageFile } from './image-file.ts';
import type { ImageInfo, Isolation, Tender, TenderOutcome, TenderState, WishedIsolation } from './tender.ts';
import { tenderBinary } from './tender-binary.ts';
import { died, notWaiting, onlyOnce, unavailable } from './tender-errors.ts';
import {
  decodeTenderFrame,
  INLINE_MAX,
  loadFrame,
  OPENED_FRAME,
  type OutcomeFrame,
  OutcomeKind,
  RELEASE_FRAME,
  TenderFrameReader,
} from './tender-frames.ts';
import { TenderMemory } from './tender-memory.ts';
import { outcomeOf } from './tender-outcome.ts';

export interface TenderProcessOptions {
  /** The unikernel image. It is read once, in `start()`. Without one, `give` says it later. */
  readonly imagePath?: string;
  readonly log: Logger;
  /** Default `auto`. */
  readonly isolation?: WishedIsolation;
  /** The user that a tender started by root becomes; default 65534 (nobody). */
  readonly user?: number;
  /** The program to run; default `tenderBinary()`. */
  readonly binary?: string;
}

/**
 * A tender that does not answer this long after the budget is killed. The tender itself keeps the budget to a fraction of
 * a millisecond; this is for one that hangs, and 50 ms of it were seen to hit healthy ones on a board with busy cores.
 */
const BACKSTOP_MS = 250;
const START_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 1_000;
const MAX_BUDGET_MS = 3_600_000;
const HANG_UP_MS = 100;
const STDERR_KEPT = 2048;

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/**
 * A tender process: one image, in the isolation that was asked for. Hot path: one call is one write, one chunk back, and no copy of an output
 * that arrived in one piece.
 */
export class TenderProcess implements Tender {
  #options: TenderProcessOptions;
  readonly #reader = new TenderFrameReader();
  readonly #call = new CallWriter();
  readonly #onDeath: ((reason: string) => void)[] = [];
  #state: TenderState = 'Loading';
  #child: ChildProcess | undefined;
  #socket: Socket | undefined;
  #memory: TenderMemory | undefined;
  #image: ImageInfo | undefined;
  #isolation: Isolation = 'process';
  #confinement = '';
  #stderr = '';
  #verdict: string | undefined;
  /** The process has ended and that has been reported. */
  #over = false;
  /** `start()` was called. */
  #started = false;
  #starting: Waiter<void> | undefined;
  /** The process is sealed. */
  #blank = false;
  /** Resolves when an image may be sent; never, when it comes to nothing. */
  readonly #opened = Promise.withResolvers<void>();
  #pending: Waiter<OutcomeFrame> | undefined;
  #closed: Promise<void> = Promise.resolve();

  constructor(options: TenderProcessOptions) {
    this.#options = options;
  }

  get state(): TenderState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isolation(): Isolation {
    return this.#isolation;
  }

  get image(): ImageInfo {
    if (this.#image === undefined) {
      throw new KerbError(ErrorCode.TenderUnavailable, 'the image of a tender is known only after start()');
    }
    return this.#image;
  }

  /**
   * Which isolation it is and why, how the tender itself is confined, and what this kernel lacks for more: one line for the
   * log. Known after `start()`.
   */
  get confinement(): string {
    return this.#confinement;
  }

  /**
   * Starts the process ahead of its image: it confines itself, finds out what this machine has, and waits for `start()`.
   * @throws KerbError TenderUnavailable
   */
  async prepare(): Promise<void> {
    if (this.#child !== undefined || this.#state !== 'Loading') throw onlyOnce();
    await this.#phase(() => this.#spawn());
  }

  /** Says which image `start()` will load, and how. For a tender that was made before that was known. */
  give(imagePath: string, log: Logger, isolation: WishedIsolation): void {
    if (this.#started) throw onlyOnce();
    this.#options = { ...this.#options, imagePath, log, isolation };
  }

  async start(): Promise<void> {
    if (this.#state === 'Dead' && !this.#started) throw this.#unavailable(this.#verdict ?? 'has ended');
    if (this.#started || this.#starting !== undefined || this.#state !== 'Loading') throw onlyOnce();
    this.#started = true;
    await this.#phase(() => {
      if (this.#child === undefined) this.#spawn();
      this.#load().catch((error: KerbError) => {
        this.#starting?.reject(error);
        this.#fail(error.message);
      });
    });
  }

  /** One of the two waits of a start: for the tender to be blank, or loaded. */
  async #phase(begin: () => void): Promise<void> {
    const over = new Promise<void>((resolve, reject) => {
      this.#starting = { resolve, reject };
    });
    const timer = setTimeout(() => this.#fail(`was not ready within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    try {
      begin();
      await over;
    } finally {
      clearTimeout(timer);
      this.#starting = undefined;
    }
  }

  #spawn(): void {
    const binary = this.#options.binary ?? tenderBinary();
    // Nothing of the broker goes along: no environment, no working directory, no descriptor but these.
    const { user = 65534, isolation = 'auto' } = this.#options;
    const child = spawn(binary, [String(user), isolation], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: {},
      cwd: '/',
    });
    this.#child = child;
    // Without a descriptor left there are no pipes, whatever the types say; the error event tells.
    const socket = child.stdio?.[3] as Socket | undefined;
    this.#socket = socket;
    this.#closed = new Promise((done) => child.once('close', () => done()));
    child.once('error', (error) => this.#fail(`cannot be run: ${error.message}`));
    // `close` comes after the last bytes of the dead, but not while somebody else holds its pipes.
    child.once('close', (code, signal) => this.#ended(code, signal));
    // What it has said is read before that, also where this process was the slow one: see armBackstop.
    child.once('exit', () => setTimeout(() => setImmediate(() => this.#hangUp()), HANG_UP_MS).unref());
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-STDERR_KEPT);
    });
    socket?.on('data', (chunk: Buffer) => this.#receive(chunk));
    // The end of the process says more than a broken pipe does, and follows at once.
    socket?.on('error', () => {});
  }

  async #load(): Promise<void> {
    const { imagePath = '', isolation = 'auto' } = this.#options;
    const image = await readImageFile(imagePath);
    await this.#opened.promise;
    const socket = this.#socket;
    socket?.cork();
    socket?.write(loadFrame(image.length, isolation));
    socket?.write(image);
    socket?.uncork();
  }

  /**
   * Runs the task once. `input` must not change before the promise settles.
   * @param budgetMs at most an hour; zero or less is a deadline that has passed
   */
  async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    const socket = this.#socket;
    if (this.#state !== 'Waiting' || socket === undefined) throw notWaiting(this.pid, this.#state);
    if (input.length > this.image.maxInput) {
      throw new KerbError(
        ErrorCode.TenderInputTooLarge,
        `input of ${input.length} bytes for task ${this.image.name}: it takes at most ${this.image.maxInput}`,
        { task: this.image.name, size: input.length, maxInput: this.image.maxInput },
      );
    }
    if (!(budgetMs > 0)) return { outcome: 'deadline', runMs: 0, cpuMs: 0, peakMemory: 0, log: '' };
    const deadline = new Deadline(Math.min(budgetMs, MAX_BUDGET_MS));
    this.#state = 'Busy';
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
      this.#call.send(socket, input, budgetNs);
      backstop = this.#armBackstop(budgetNs / 1e6);
      frame = await answer;
    } finally {
      clearTimeout(backstop);
      this.#pending = undefined;
    }
    const outcome = outcomeOf(
      frame,
      frame.output ?? (await this.#copyOut(socket, frame.outputSize)),
      this.image.maxOutput,
    );
    // stop() or the end of the process may have come meanwhile, and has the last word on the state.
    if ((this.#state as TenderState) === 'Busy') this.#state = 'Waiting';
    return outcome;
  }

  async stop(): Promise<void> {
    const child = this.#child;
    const before = this.#state;
    if (before !== 'Dead') this.#state = 'Stopped';
    if (child === undefined || before === 'Dead') return;
    if (before === 'Waiting') {
      this.#socket?.end(); // it ends by itself when the socket does
    } else {
      child.kill('SIGKILL');
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#closed;
    clearTimeout(timer);
  }

  onDeath(listener: (reason: string) => void): void {
    this.#onDeath.push(listener);
  }

  async #copyIn(input: Uint8Array): Promise<void> {
    try {
      await this.#memory?.write(input);
    } catch (error) {
      throw this.#fail(`does not take its input: ${messageOf(error)}`);
    }
  }

  async #copyOut(socket: Socket, size: number): Promise<Buffer> {
    try {
      if (this.#memory === undefined) throw new Error('it has ended');
      const output = await this.#memory.read(size);
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

  #receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk, (frame) => this.#handle(frame));
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  #handle(bytes: Buffer): void {
    const frame = decodeTenderFrame(bytes);
    if (frame.type === 'outcome') {
      if (this.#pending === undefined) this.#fail('sent an outcome without a call');
      else if (frame.outputSize > this.image.maxOutput && frame.kind === OutcomeKind.Done)
        this.#fail('output too large');
      else this.#pending.resolve(frame);
      return;
    }
    const starting = this.#starting;
    const child = this.#child;
    if (starting === undefined || child?.pid === undefined) {
      this.#fail(`sent a ${frame.type} frame out of turn`);
      return;
    }
    switch (frame.type) {
      case 'hello':
        this.#openMemory(child.pid, frame.inputFd, frame.outputFd).catch((error: unknown) =>
          this.#fail(messageOf(error)),
        );
        return;
      case 'blank':
        if (this.#blank) this.#fail('sent a blank frame out of turn');
        this.#blank = true;
        if (!this.#started) starting.resolve();
        return;
      case 'loaded':
        if (this.#state !== 'Loading') return; // stopped meanwhile
        this.#image = frame.image;
        this.#isolation = frame.isolation;
        this.#confinement = frame.confinement;
        this.#state = 'Waiting';
        this.#options.log.info({ pid: this.pid, state: frame.confinement }, 'tender ready');
        starting.resolve();
        return;
      case 'refused':
        starting.reject(
          new KerbError(ErrorCode.ImageRefused, `image ${this.#options.imagePath} is refused: ${frame.reason}`, {
            image: this.#options.imagePath,
            reason: frame.reason,
          }),
        );
        return;
      default:
        starting.reject(this.#unavailable(frame.reason));
    }
  }

  async #openMemory(pid: number, inputFd: number, outputFd: number): Promise<void> {
    this.#memory = await TenderMemory.open(pid, inputFd, outputFd);
    if (this.#over) this.#closeMemory();
    else if (this.#socket?.writable) this.#opened.resolve(void this.#socket.write(OPENED_FRAME));
  }

  #closeMemory(): void {
    this.#memory
      ?.close()
      .catch((error: unknown) => this.#options.log.warn({ err: error }, 'cannot close the memory of a tender'));
    this.#memory = undefined;
  }

  #hangUp(): void {
    this.#socket?.destroy();
    this.#child?.stderr?.destroy();
  }

  #unavailable(reason: string): KerbError {
    return unavailable(this.#options.imagePath, reason);
  }

  /** Gives the process up. What ends it is reported when it has ended. */
  #fail(reason: string): KerbError {
    this.#verdict ??= reason;
    const child = this.#child;
    if (child?.pid === undefined) this.#ended(null, null);
    else child.kill('SIGKILL');
    return died(this.pid, this.#verdict);
  }

  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#over) return;
    const asked = this.#state === 'Stopped';
    const stderr = this.#stderr.trim().replaceAll('\n', ', ');
    const how = signal !== null ? `was ended by ${signal}` : `ended with exit code ${code}`;
    this.#verdict ??= asked ? 'was stopped' : stderr === '' ? how : `${how}: ${stderr}`;
    if (!asked) this.#state = 'Dead';
    this.#over = true;
    this.#closeMemory();
    this.#starting?.reject(this.#unavailable(this.#verdict));
    this.#pending?.reject(died(this.pid, this.#verdict));
    if (asked || this.#image === undefined) return;
    for (const listener of this.#onDeath) listener(this.#verdict);
  }
}
