import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import type { KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { shownText } from '../../shared/protocol/shown-refusal.ts';
import { TokenBucket } from './limits/token-bucket.ts';

/** Lines about one client, and about all of them: a client must not be able to fill the disk, nor to hide another. */
const OF_ONE = { perSecond: 1, most: 10 };
const OF_ALL = { perSecond: 50, most: 200 };
const MAX_CLIENTS = 1024;

interface Known {
  readonly lines: TokenBucket;
  /** Lines that were left out since the last one. */
  unsaid: number;
}

/** The log lines about clients, bounded for each of them and for all together: no client can fill the log. */
export class ClientLog {
  readonly #log: Logger;
  readonly #errors: RecentErrors;
  readonly #known = new Map<string, Known>();
  readonly #all = new TokenBucket(OF_ALL.perSecond, OF_ALL.most, performance.now());

  constructor(log: Logger, errors: RecentErrors) {
    this.#log = log;
    this.#errors = errors;
  }

  /** A client was refused: logged, and kept for the status. @param client "vehicle car-1", or an address */
  readonly refused = (client: string, error: KerbError): void => {
    const err = shownText(error.message);
    this.#errors.add(client, error.code, err);
    this.#say(client, (count) => this.#log.warn({ client, code: error.code, err, count }, 'a client was refused'));
  };

  connected(vehicle: string, tenant: string): void {
    this.#say(`vehicle ${vehicle}`, (count) => this.#log.info({ vehicle, tenant, count }, 'vehicle connected'));
  }

  disconnected(vehicle: string, reason: string): void {
    this.#say(`vehicle ${vehicle}`, (count) => this.#log.info({ vehicle, reason, count }, 'vehicle disconnected'));
  }

  #say(client: string, line: (unsaid: number) => void): void {
    const now = performance.now();
    let known = this.#known.get(client);
    if (known === undefined) {
      // The one that has been known for longest is forgotten: it may say a few lines more.
      if (this.#known.size >= MAX_CLIENTS) this.#known.delete(this.#known.keys().next().value!);
      known = { lines: new TokenBucket(OF_ONE.perSecond, OF_ONE.most, now), unsaid: 0 };
      this.#known.set(client, known);
    }
    if (!known.lines.has(now) || !this.#all.take(now)) {
      known.unsaid++;
      return;
    }
    known.lines.take(now);
    line(known.unsaid);
    known.unsaid = 0;
  }
}
