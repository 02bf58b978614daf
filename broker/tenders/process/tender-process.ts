import { ErrorCode, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import { MAX_DECLARED_BYTES, memoryLimit } from '../cgroups/group-limits.ts';
import { LateWatch } from '../watch/late-watch.ts';
import type { LateLimits } from '../watch/lateness.ts';
import { readImageFile } from './image-file.ts';
import type { ImageInfo, Isolation, Tender, TenderOutcome, TenderState, WishedIsolation } from './tender.ts';
import { tenderBinary } from './tender-binary.ts';
import { TenderCalls } from './tender-calls.ts';
import { TenderChild } from './tender-child.ts';
import { died, inputTooLarge, notWaiting, onlyOnce, unavailable } from './tender-errors.ts';
import { decodeTenderFrame, loadFrame, OPENED_FRAME, OutcomeKind, TenderFrameReader } from './tender-frames.ts';
import { TenderMemory } from './tender-memory.ts';
import type { TenderProcessOptions } from './tender-options.ts';

const START_TIMEOUT_MS = 10_000;
/** A start takes some tens of milliseconds of CPU time; on a machine that gives none, a minute is enough of waiting. */
const START: LateLimits = { afterMs: 250, cpuMs: 1_000, atMostMs: 50_000 };
const STOP_TIMEOUT_MS = 1_000;
const MAX_BUDGET_MS = 3_600_000;

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/** A tender process: one image, in the isolation that was asked for. */
export class TenderProcess implements Tender {
  #options: TenderProcessOptions;
  readonly #reader = new TenderFrameReader();
  readonly #calls = new TenderCalls(
    (reason, starved) => this.#fail(reason, starved),
    () => this.#answered(),
  );
  readonly #onDeath: ((reason: string, starved: boolean) => void)[] = [];
  #state: TenderState = 'Loading';
  #child: TenderChild | undefined;
  #image: ImageInfo | undefined;
  #isolation: Isolation = 'process';
  #kept = false;
  #confinement = '';
  #verdict: string | undefined;
  /** It was given up because it got no processor. */
  #starved = false;
  /** The process has ended and that has been reported. */
  #over = false;
  /** `start()` was called. */
  #started = false;
  #starting: Waiter<void> | undefined;
  /** The process is sealed. */
  #blank = false;
  /** Resolves when an image may be sent; never, when it comes to nothing. */
  readonly #opened = Promise.withResolvers<void>();

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

  get kept(): boolean {
    return this.#kept;
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
  give(imagePath: string, log: Logger, isolation: WishedIsolation, declaredBytes?: number): void {
    if (this.#started) throw onlyOnce();
    this.#options = { ...this.#options, imagePath, log, isolation, declaredBytes };
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
    let late: LateWatch | undefined;
    try {
      begin();
      late = new LateWatch(this.pid, START_TIMEOUT_MS, START, (starved) => {
        if (starved) this.#fail(`got no processor to start with within ${START_TIMEOUT_MS + START.atMostMs} ms`, true);
        else this.#fail(`was not ready within ${START_TIMEOUT_MS} ms`);
      });
      await over;
    } finally {
      late?.clear();
      this.#starting = undefined;
    }
  }

  #spawn(): void {
    const binary = this.#options.binary ?? tenderBinary();
    const { user = 65534, isolation = 'auto', groups } = this.#options;
    const events = {
      onData: (chunk: Buffer) => this.#receive(chunk),
      onFault: (error: Error) => this.#fail(`cannot be run: ${error.message}`),
      onClose: (code: number | null, signal: NodeJS.Signals | null) => this.#ended(code, signal),
    };
    this.#child = new TenderChild(binary, [String(user), isolation], events, groups?.take());
  }

  async #load(): Promise<void> {
    const { imagePath = '', isolation = 'auto', declaredBytes } = this.#options;
    const image = await readImageFile(imagePath);
    const child = this.#child;
    await child?.limitMemory(memoryLimit(declaredBytes ?? MAX_DECLARED_BYTES, image.length));
    await this.#opened.promise;
    const socket = child?.socket;
    socket?.cork();
    socket?.write(loadFrame(image.length, isolation));
    socket?.write(image);
    socket?.uncork();
  }

  /**
   * Runs the task once. `input` must not change before the promise settles.
   * @param budgetMs at most an hour; zero or less is a deadline that has passed
   */
  call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    const socket = this.#child?.socket;
    if (this.#state !== 'Waiting' || socket === undefined) return Promise.reject(notWaiting(this.pid, this.#state));
    const { maxInput, maxOutput, name } = this.image;
    if (input.length > maxInput) return Promise.reject(inputTooLarge(name, input.length, maxInput));
    if (!(budgetMs > 0)) return Promise.resolve({ outcome: 'deadline', runMs: 0, cpuMs: 0, peakMemory: 0, log: '' });
    this.#state = 'Busy';
    return this.#calls.run(socket, this.pid, input, Math.min(budgetMs, MAX_BUDGET_MS), maxOutput);
  }

  #answered(): void {
    // stop() or the end of the process may have come meanwhile, and has the last word on the state.
    if (this.#state === 'Busy') this.#state = 'Waiting';
  }

  async stop(): Promise<void> {
    const child = this.#child;
    const before = this.#state;
    if (before !== 'Dead') this.#state = 'Stopped';
    if (child === undefined || before === 'Dead') return;
    if (before === 'Waiting') {
      child.socket?.end(); // it ends by itself when the socket does
    } else {
      child.kill();
    }
    const timer = setTimeout(() => child.kill(), STOP_TIMEOUT_MS);
    await child.closed;
    clearTimeout(timer);
  }

  onDeath(listener: (reason: string, starved: boolean) => void): void {
    this.#onDeath.push(listener);
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
      const tooLarge = frame.kind === OutcomeKind.Done && frame.outputSize > (this.#image?.maxOutput ?? 0);
      if (tooLarge && this.#state === 'Busy') this.#fail('output too large');
      else if (!this.#calls.answer(frame)) this.#fail('sent an outcome without a call');
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
        this.#kept = frame.kept;
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
    this.#calls.memory = await TenderMemory.open(pid, inputFd, outputFd);
    const socket = this.#child?.socket;
    if (this.#over) this.#closeMemory();
    else if (socket?.writable) this.#opened.resolve(void socket.write(OPENED_FRAME));
  }

  #closeMemory(): void {
    this.#calls.memory
      ?.close()
      .catch((error: unknown) => this.#options.log.warn({ err: error }, 'cannot close the memory of a tender'));
    this.#calls.memory = undefined;
  }

  #unavailable(reason: string): KerbError {
    return unavailable(this.#options.imagePath, reason, this.#starved);
  }

  /** Gives the process up. What ends it is reported when it has ended. */
  #fail(reason: string, starved = false): KerbError {
    if (this.#verdict === undefined) this.#starved = starved;
    this.#verdict ??= reason;
    const child = this.#child;
    if (child?.pid === undefined) this.#ended(null, null);
    else child.kill();
    return died(this.pid, this.#verdict, this.#starved);
  }

  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#over) return;
    const asked = this.#state === 'Stopped';
    const stderr = this.#child?.lastWords ?? '';
    const how = signal !== null ? `was ended by ${signal}` : `ended with exit code ${code}`;
    this.#verdict ??= asked ? 'was stopped' : stderr === '' ? how : `${how}: ${stderr}`;
    if (!asked) this.#state = 'Dead';
    this.#over = true;
    this.#closeMemory();
    this.#starting?.reject(this.#unavailable(this.#verdict));
    this.#calls.abort(died(this.pid, this.#verdict, this.#starved));
    if (asked || this.#image === undefined) return;
    for (const listener of this.#onDeath) listener(this.#verdict, this.#starved);
  }
}
