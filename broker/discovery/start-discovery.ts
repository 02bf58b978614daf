import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import { BrokerFinder } from '../../shared/discovery/broker-finder.ts';
import { Multicast } from '../../shared/discovery/multicast.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { Announcer, type AnnouncerOptions } from './announcer.ts';
import { type DiscoveryConfig, NO_DISCOVERY } from './discovery-config.ts';

const { AnnounceReply } = kerbside.v2e;

export interface DiscoveryParts
  extends Pick<AnnouncerOptions, 'identity' | 'port' | 'served' | 'neighbours' | 'load' | 'isServing'> {
  readonly config: DiscoveryConfig | undefined;
  readonly errors: RecentErrors;
  readonly log: Logger;
}

/** Most announcements in one answer: the broker's own, and those that it has heard. */
const MAX_LISTED = 64;
/** The same answer is given for so long, in milliseconds: a load is never older than 500. */
const ANSWER_MS = 100;

/** How this broker is found, and whom it has found itself. */
export interface Discovery {
  readonly finder: BrokerFinder;
  /** An encoded AnnounceReply. */
  announcements(): Uint8Array;
  renew(identity: Identity): void;
}

export async function startDiscovery(running: RunningParts, parts: DiscoveryParts): Promise<Discovery> {
  const { config = NO_DISCOVERY, errors } = parts;
  const log = parts.log.child({ part: 'discovery' });
  let { identity } = parts;
  const trouble = (name: string, reason: string) => {
    if (reason === '') return void log.info({ client: name }, 'announcements go out on this interface');
    errors.add('discovery', ErrorCode.BadConfig, reason);
    log.warn({ client: name, reason }, 'announcements cannot go out on this interface');
  };
  const senders = config.groups.map((group) => new Multicast(group, { onTrouble: trouble }));
  // Certificates come from the links of neighbours; a broker that was only heard of is not asked.
  const finder = new BrokerFinder({ groups: config.groups, identity: () => identity, asks: false });
  const announcer = new Announcer({
    ...parts,
    place: config,
    send: (datagram) => {
      for (const sender of senders) sender.send(datagram);
    },
    log,
  });
  await running.begin('discovery', finder);
  for (const sender of senders) await running.begin('multicast', sender);
  await running.begin('announcer', announcer);
  let answer: Uint8Array | undefined;
  let answeredAt = 0;
  return {
    finder,
    announcements: () => {
      const now = performance.now();
      if (answer !== undefined && now - answeredAt < ANSWER_MS) return answer;
      answer = AnnounceReply.encode({ announcements: { heard: heardBy(announcer, finder, now) } }).finish();
      answeredAt = now;
      return answer;
    },
    renew: (renewed) => {
      identity = renewed;
      announcer.renew(renewed);
      finder.table.review();
    },
  };
}

function heardBy(announcer: Announcer, { table }: BrokerFinder, now: number) {
  const own = announcer.current();
  const heard = table.heard(now).filter(({ facts }) => !announcer.isOwn(facts));
  const others = heard.map(({ datagram, certificate, ageMs, from }) => {
    return { datagram, certificate, ageMs: Math.round(ageMs), host: from };
  });
  return [...(own === undefined ? [] : [{ ...own, ageMs: 0, host: '' }]), ...others].slice(0, MAX_LISTED);
}
