import type { Socket } from 'socket.io-client';
import { kerbside } from '../protocol/generated/v2e.js';
import { bytesOf } from '../protocol/v2e-socket.ts';

/** A broker will not be there much longer: what is new goes elsewhere, what runs there comes to its end. */
export interface DrainNotice {
  /** How long it will still be there, in milliseconds from the notice; 0: not known. */
  readonly endsInMs: number;
  /** Ids or addresses of brokers that it names instead, at most `MAX_BROKERS`. */
  readonly tryBrokers: readonly string[];
}

const MAX_BROKERS = 32;
const MAX_NAME = 256;

/** @throws Error when it cannot be read */
export function decodeDrainNotice(payload: unknown): DrainNotice {
  const { endsInMs, tryBrokers } = kerbside.v2e.DrainNotice.decode(bytesOf(payload));
  return {
    endsInMs: Number.isFinite(endsInMs) && endsInMs > 0 ? endsInMs : 0,
    tryBrokers: tryBrokers.filter((one) => one !== '' && one.length <= MAX_NAME).slice(0, MAX_BROKERS),
  };
}

/** The notice that counts on one connection: until the broker announces itself anew, or the connection is lost. */
export class DrainWatch {
  #notice: DrainNotice | undefined;

  get notice(): DrainNotice | undefined {
    return this.#notice;
  }

  /** @param onChange another notice counts now; a notice that cannot be read changes nothing */
  follow(socket: Socket, onChange: () => void): void {
    const become = (notice: DrainNotice | undefined) => {
      const before = this.#notice;
      this.#notice = notice;
      if (before !== notice) onChange();
    };
    socket.on('drain', (payload: unknown) => {
      try {
        become(decodeDrainNotice(payload));
      } catch {
        // A broker that only says nonsense has not said that it ends.
      }
    });
    socket.on('hello', () => become(undefined));
    socket.on('disconnect', () => become(undefined));
  }
}
