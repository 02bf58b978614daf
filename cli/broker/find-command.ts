import type { Command } from 'commander';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { BrokerFinder } from '../../shared/discovery/broker-finder.ts';
import type { FoundBroker } from '../../shared/discovery/found-broker.ts';
import { DEFAULT_TTL } from '../../shared/discovery/multicast.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { parseUrl } from '../lib/broker-options.ts';
import { interruptible, type OutputFormat, outputOption, progress, rowsOf, show, toDuration } from '../lib/output.ts';
import { type GroupOptions, withGroups } from './discovery-options.ts';

interface FindOptions extends GroupOptions {
  readonly identity?: string;
  readonly broker?: readonly string[];
  readonly wait: number;
  readonly output: OutputFormat;
  readonly json?: boolean;
}

/** A broker as `kerb broker find -o json` shows it. */
interface ShownBroker extends Pick<FoundBroker, 'broker' | 'state' | 'reason' | 'url' | 'from'> {
  readonly kind: string;
  readonly position?: { readonly latitude: number; readonly longitude: number };
  readonly rangeM?: number;
  readonly queueMs?: number;
  readonly freeTenders?: number;
  readonly isolations: readonly string[];
  readonly neighbours: readonly string[];
  readonly tasksHash: string;
  readonly ageMs: number;
}

/** When `--wait` is not given. */
const DEFAULT_WAIT = '2s';
/** A load is never older than 500 ms: so often a listed broker is asked. */
const ASK_AGAIN_MS = 400;

/** `kerb broker find` */
export function registerFindCommand(broker: Command): void {
  withGroups(broker.command('find').description('which brokers are there, and which of them are verified'))
    .option(
      '--identity <dir>',
      'certificate.pem, key.pem and ca.pem of a vehicle, a broker or an operator: verifies brokers by its authorities',
    )
    .option(
      '--broker <urls>',
      'ask these brokers as well whom they know, like "https://rsu-1:7443" (a vehicle may)',
      toUrls,
    )
    .option('--wait <time>', 'how long to listen', toDuration, toDuration(DEFAULT_WAIT))
    .addOption(outputOption())
    .option('--json', 'the same as -o json')
    .action(find);
}

async function find(options: FindOptions): Promise<void> {
  const { identity: dir, wait, json, broker: urls = [] } = options;
  if (urls.length > 0 && dir === undefined) {
    throw new KerbError(ErrorCode.BadConfig, '--broker needs --identity DIR with the certificate of a vehicle');
  }
  const identity = dir === undefined ? undefined : await loadIdentity(dir, ['vehicle', 'broker', 'operator']);
  const troubles = new Map<string, string>();
  const finder = new BrokerFinder({
    groups: options.group.map((group) => ({
      ...{ group, port: options.groupPort, interfaces: options.interface ?? [], ttl: DEFAULT_TTL },
    })),
    identity: () => identity,
    asks: identity !== undefined,
    onTrouble: (name, reason) => troubles.set(name, reason),
  });
  await interruptible(async (signal) => {
    finder.start();
    try {
      const asking = urls.map((url) => ask(finder, url, identity!, signal));
      await pause(wait, signal);
      void Promise.allSettled(asking);
    } finally {
      finder.stop();
    }
  });
  for (const reason of troubles.values()) if (reason !== '') progress(reason);
  const { counts } = finder.table;
  const bad = counts.malformed + counts.forged + counts.replayed + counts.limited;
  if (bad > 0) {
    progress(
      `of ${counts.heard} announcements, ${counts.malformed} were malformed, ${counts.forged} forged, ${counts.replayed} replayed and ${counts.limited} too many to look at`,
    );
  }
  show(json ? 'json' : options.output, finder.list().map(shownBroker), (found) => linesOf(found, wait));
}

/** Asks a broker again and again whom it knows, until the signal or the end of the finder. */
async function ask(finder: BrokerFinder, url: string, identity: Identity, signal: AbortSignal): Promise<void> {
  const client = new BrokerClient({ url, identity, brokerId: undefined, signal });
  try {
    await client.connect();
    while (!finder.isStopped && !signal.aborted) {
      for (const one of await client.announcements()) {
        finder.table.show(one.certificate);
        finder.hear(one.datagram, one.host || new URL(url).hostname.replace(/^\[|\]$/g, ''), one.ageMs);
      }
      await pause(ASK_AGAIN_MS, signal);
    }
  } catch (error) {
    progress(error instanceof Error ? error.message : String(error));
  } finally {
    client.close();
  }
}

function shownBroker({ facts, load, ageMs, broker, state, reason, url, from }: FoundBroker): ShownBroker {
  const { kind, position, rangeM, isolations, neighbours, tasksHash } = facts;
  return {
    ...{ broker, state, reason, url, from, kind },
    ...(position && { position }),
    ...(rangeM > 0 && { rangeM }),
    ...load,
    ...{ isolations, neighbours, tasksHash, ageMs: Math.round(ageMs) },
  };
}

function linesOf(found: readonly ShownBroker[], waitMs: number): readonly string[] {
  const rows = found.map((one) => [
    ...[one.broker, one.state, one.kind, one.url || `${one.from} (no URL)`],
    ...[
      one.queueMs === undefined ? '-' : `${one.queueMs} ms`,
      one.freeTenders === undefined ? '-' : String(one.freeTenders),
    ],
    one.reason || '-',
  ]);
  const none = `no broker was heard within ${(waitMs / 1000).toFixed(1)} s; they announce themselves with kerb broker serve --announce, and only on the link they are on`;
  return rowsOf(['BROKER', 'STATE', 'KIND', 'URL', 'QUEUE', 'FREE', 'REASON'], rows, none);
}

function toUrls(text: string): readonly string[] {
  return text.split(',').map((one) => parseUrl(one.trim()));
}
