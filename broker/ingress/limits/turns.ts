/**
 * Whose turn it is on the event loop. A vehicle that sends no more than its share is served as its messages come. What
 * goes beyond is not read from its connections (TCP holds it back), and what had been read already waits; between two
 * looks of the event loop at the network one of those vehicles has one turn. So one that floods delays the message of
 * another by one turn at most, however much it sends and over how many connections.
 */

/** Milliseconds of work in one turn, and bytes read. */
const TURN_MS = 1;
const TURN_BYTES = 256 * 1024;
/** So often a vehicle that sends a lot gets a turn without waiting for one. */
const WINDOW_MS = 2;
/** A message that is over a limit waits this long for room, and is refused then. */
const ROOM_TIMEOUT_MS = 1000;
const LOOK_MS = 5;

/** A connection. */
export interface Source {
  pause(): void;
  resume(): void;
}

export interface Waiting {
  readonly source: Source;
  /** `performance.now()` when it was here. */
  readonly arrivedAt: number;
}

/** The state that `Turns` keeps of one vehicle. */
export class Turn<Message extends Waiting> {
  readonly waiting: Message[] = [];
  /** Large answers that are still to be written. */
  readonly works: (() => void)[] = [];
  readonly stopped = new Set<Source>();
  windowAt = 0;
  spentMs = 0;
  readBytes = 0;
  /** It has had more than its turn already: `performance.now()` when the next one may come. */
  restsUntil = 0;
  isListed = false;
}

export interface TurnRules<User, Message extends Waiting> {
  turnOf(user: User): Turn<Message>;
  /** Which limit it is that keeps this message from being handled now; empty: none. */
  hindrance(user: User, message: Message, now: number): string;
  /** False: nothing more is to be read for now. */
  mayRead(user: User): boolean;
  /** @param quota the limit that it was over for too long; empty: none */
  handle(user: User, message: Message, quota: string): void;
}

export class Turns<User, Message extends Waiting> {
  readonly #rules: TurnRules<User, Message>;
  /** Those that wait for a turn, the next one first. */
  readonly #round: User[] = [];
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(rules: TurnRules<User, Message>) {
    this.#rules = rules;
  }

  /** A message has come: it is handled now or waits. */
  take(user: User, message: Message): void {
    const turn = this.#rules.turnOf(user);
    const now = message.arrivedAt;
    refresh(turn, now);
    const isFree = turn.waiting.length === 0 && turn.stopped.size === 0 && turn.spentMs < TURN_MS;
    if (isFree && this.#rules.hindrance(user, message, now) === '') {
      this.#handle(user, turn, message, '');
      if (!this.#rules.mayRead(user)) this.#stop(user, turn, message.source);
      return;
    }
    turn.waiting.push(message);
    this.#stop(user, turn, message.source);
  }

  /** Bytes were read, whether or not they were a whole message. */
  read(user: User, source: Source, bytes: number): void {
    const turn = this.#rules.turnOf(user);
    refresh(turn, performance.now());
    turn.readBytes += bytes;
    if (turn.readBytes > TURN_BYTES) this.#stop(user, turn, source);
  }

  /** A large message was put together and unmasked, which took so long: all of it at once, when its last byte was here. */
  assembled(user: User, source: Source, ms: number): void {
    const turn = this.#rules.turnOf(user);
    turn.spentMs += ms;
    if (rest(turn, ms, performance.now())) this.#stop(user, turn, source);
  }

  /** Puts off work that takes long, such as writing a large answer, until it is the user's turn. */
  later(user: User, work: () => void): void {
    const turn = this.#rules.turnOf(user);
    turn.works.push(work);
    this.#list(user, turn);
  }

  /** Does all work that was put off, at once. */
  flush(): void {
    for (const user of this.#round) for (const work of this.#rules.turnOf(user).works.splice(0)) work();
  }

  /** The connection is gone, and what came over it with it. */
  forget(user: User, source: Source): void {
    const { waiting, stopped } = this.#rules.turnOf(user);
    stopped.delete(source);
    const kept = waiting.filter((message) => message.source !== source);
    waiting.splice(0, waiting.length, ...kept);
  }

  stop(): void {
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    this.#round.length = 0;
  }

  #stop(user: User, turn: Turn<Message>, source: Source): void {
    if (!turn.stopped.has(source)) {
      turn.stopped.add(source);
      source.pause();
    }
    this.#list(user, turn);
  }

  #list(user: User, turn: Turn<Message>): void {
    if (turn.isListed) return;
    turn.isListed = true;
    this.#round.push(user);
    this.#schedule(true);
  }

  #schedule(isSoon: boolean): void {
    if (this.#immediate !== undefined || this.#round.length === 0) return;
    if (!isSoon) {
      this.#timer ??= setTimeout(this.#next, LOOK_MS);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#immediate = setImmediate(this.#next);
  }

  /** The first of the round that can go on has its turn. */
  readonly #next = (): void => {
    this.#immediate = undefined;
    this.#timer = undefined;
    let hasWorked = false;
    for (let left = this.#round.length; left > 0 && !hasWorked; left--) {
      const user = this.#round.shift()!;
      const turn = this.#rules.turnOf(user);
      hasWorked = this.#goOn(user, turn);
      turn.isListed = turn.works.length > 0 || turn.waiting.length > 0 || turn.stopped.size > 0;
      if (turn.isListed) this.#round.push(user);
    }
    this.#schedule(hasWorked);
  };

  /** False: it rests, or a limit keeps all of it waiting. */
  #goOn(user: User, turn: Turn<Message>): boolean {
    const { waiting, stopped } = turn;
    const begunAt = performance.now();
    if (begunAt < turn.restsUntil) return false;
    turn.windowAt = begunAt;
    turn.spentMs = 0;
    turn.readBytes = 0;
    let hasWorked = this.#work(turn);
    while (waiting.length > 0 && turn.spentMs < TURN_MS) {
      const now = performance.now();
      const message = waiting[0]!;
      const quota = this.#rules.hindrance(user, message, now);
      if (quota !== '' && now - message.arrivedAt < ROOM_TIMEOUT_MS) return hasWorked;
      waiting.shift();
      this.#handle(user, turn, message, quota);
      hasWorked = true;
    }
    if (waiting.length > 0 || !this.#rules.mayRead(user)) return hasWorked;
    const [source] = stopped;
    if (source === undefined || turn.restsUntil > begunAt) return hasWorked;
    stopped.delete(source);
    source.resume();
    return true;
  }

  /** Does work that was put off, until the turn's time is used up. */
  #work(turn: Turn<Message>): boolean {
    const { works } = turn;
    const hasWorked = works.length > 0;
    while (works.length > 0 && turn.spentMs < TURN_MS) {
      const before = performance.now();
      works.shift()!();
      const now = performance.now();
      turn.spentMs += now - before;
      rest(turn, now - before, now);
    }
    return hasWorked;
  }

  #handle(user: User, turn: Turn<Message>, message: Message, quota: string): void {
    const before = performance.now();
    this.#rules.handle(user, message, quota);
    turn.spentMs += performance.now() - before;
  }
}

/** Work that took longer than a turn is followed by a rest as long. */
function rest(turn: Turn<Waiting>, ms: number, now: number): boolean {
  if (ms < TURN_MS) return false;
  turn.restsUntil = Math.max(turn.restsUntil, now) + ms - TURN_MS;
  return true;
}

function refresh(turn: Turn<Waiting>, now: number): void {
  if (now - turn.windowAt < WINDOW_MS) return;
  turn.windowAt = now;
  turn.spentMs = 0;
  turn.readBytes = 0;
}
