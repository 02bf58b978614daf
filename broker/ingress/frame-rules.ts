import { TokenBucket } from './limits/token-bucket.ts';

/** socket.io's greeting of a client of version 2 with all features takes 200 bytes. */
const MAX_GREETING = 8192;
/** Pongs and control frames: one of engine.io every two seconds is what a client has to send. */
const IDLE_FRAMES = { perSecond: 5, most: 20 };

/** `request`: an event with a binary argument; `pass`: for engine.io and socket.io. */
export type FrameVerdict = 'request' | 'pass' | { readonly fault: string };

/**
 * The messages that one client may send, before engine.io and socket.io see any of them: one CONNECT to the default
 * namespace, then events with one binary argument, pongs, and one DISCONNECT. Neither library has bounds of its own for
 * namespaces, attachments, acknowledgements or packets that mean nothing.
 */
export class FrameRules {
  readonly #idle: TokenBucket;
  #state: 'new' | 'connected' | 'leaving' = 'new';

  constructor(now: number) {
    this.#idle = new TokenBucket(IDLE_FRAMES.perSecond, IDLE_FRAMES.most, now);
  }

  /** @param now milliseconds of a clock that only goes forward */
  judge(data: Buffer, isBinary: boolean, now: number): FrameVerdict {
    if (isBinary) {
      if (this.#state !== 'connected') return fault('a message before the connection to the namespace');
      return 'request';
    }
    // Types of engine.io ("3" pong, "4" message), then those of socket.io ("0" CONNECT, "1" DISCONNECT).
    const head = data.toString('latin1', 0, 2);
    if (head === '3' && data.length === 1) return this.control(now);
    if (head === '40') return this.#connect(data);
    if (head === '41' && data.length === 2 && this.#state === 'connected') {
      this.#state = 'leaving';
      return 'pass';
    }
    return fault('a text message that V2E does not have');
  }

  /** A ping or pong, of WebSocket or engine.io. */
  control(now: number): FrameVerdict {
    return this.#idle.take(now) ? 'pass' : fault('too many pings and pongs');
  }

  #connect(data: Buffer): FrameVerdict {
    if (this.#state !== 'new') return fault('a second CONNECT on one connection');
    if (data.length > MAX_GREETING) return fault(`a greeting of ${data.length} bytes, more than ${MAX_GREETING}`);
    // Behind the type comes the namespace, when it is another one, or the greeting in JSON.
    if (data.length > 2 && data[2] !== 0x7b) return fault('another namespace than the default one');
    this.#state = 'connected';
    return 'pass';
  }
}

function fault(what: string): FrameVerdict {
  return { fault: what };
}
