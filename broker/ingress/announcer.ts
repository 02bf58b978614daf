import { eachInTurns } from './limits/in-turns.ts';
import type { ConnectedVehicle } from './link-types.ts';
import { encodeDrain } from './replies.ts';
import type { VehicleLink } from './vehicle-link.ts';

/** An encoded ServiceAnnouncement, for one client: the same for all of its tenant and version of the protocol. */
export type Announcement = (client: ConnectedVehicle) => Uint8Array;

/** Tells clients what there is to run, and that the broker will not be there much longer. */
export class Announcer {
  readonly #links: () => Iterable<VehicleLink>;
  readonly #announcement: Announcement;
  #drain: Uint8Array | undefined;

  constructor(links: () => Iterable<VehicleLink>, announcement: Announcement) {
    this.#links = links;
    this.#announcement = announcement;
  }

  /** A client that is there now. */
  greet(link: VehicleLink): void {
    this.#greet(link, this.#announcement);
    this.#sendDrain(link);
  }

  /** Tells every client anew what there is. */
  announce(): void {
    const announcement = onceForEach(this.#announcement);
    eachInTurns(this.#links(), (link) => {
      this.#greet(link, announcement);
      this.#sendDrain(link);
    });
  }

  /** Tells every client of version 2 that this broker will not be there much longer. */
  drain(endsInMs: number, tryBrokers: readonly string[]): void {
    this.#drain = encodeDrain(endsInMs, tryBrokers);
    eachInTurns(this.#links(), (link) => this.#sendDrain(link));
  }

  /** It stays after all: a new announcement takes the notice back. */
  recall(): void {
    this.#drain = undefined;
    this.announce();
  }

  #greet(link: VehicleLink, announcement: Announcement): void {
    if (link.isServed) link.tell('hello', announcement(link.client!));
  }

  #sendDrain(link: VehicleLink): void {
    if (this.#drain !== undefined && link.isServed && link.client!.version >= 2) link.tell('drain', this.#drain);
  }
}

/** Thousands of vehicles belong to a few tenants: each announcement is made and encoded once. */
function onceForEach(announcement: Announcement): Announcement {
  const made = new Map<string, Uint8Array>();
  return (client) => {
    const key = `${client.version} ${client.tenant}`;
    let bytes = made.get(key);
    if (bytes === undefined) {
      bytes = announcement(client);
      made.set(key, bytes);
    }
    return bytes;
  };
}
