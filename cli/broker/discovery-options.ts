import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BrokerConfig } from '../../broker/config.ts';
import type { DiscoveryConfig } from '../../broker/discovery/discovery-config.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { BROKER_KINDS, type BrokerKind, isHost } from '../../shared/discovery/announcement.ts';
import { DEFAULT_GROUPS, DEFAULT_PORT, DEFAULT_TTL, isGroup } from '../../shared/discovery/multicast.ts';
import { isId } from '../../shared/identity/identity.ts';
import { parseUrl } from '../lib/broker-options.ts';

/** Of every verb that listens to announcements or makes them. */
export interface GroupOptions {
  readonly interface?: readonly string[];
  readonly group: readonly string[];
  readonly groupPort: number;
}

/** Options of `kerb broker serve` about being found. */
export interface DiscoveryOptions {
  readonly announce?: boolean;
  readonly announceInterface?: readonly string[];
  readonly announceGroup: readonly string[];
  readonly announcePort: number;
  readonly announceTtl: number;
  readonly announceHost?: string;
  readonly kind: BrokerKind;
  readonly position?: Position;
  readonly range: number;
  readonly neighbour?: ReadonlyMap<string, string>;
}

interface Position {
  readonly latitude: number;
  readonly longitude: number;
}

const MAX_TTL = 255;
const MAX_RANGE_M = 100_000;

export function withDiscoveryOptions(serve: Command): Command {
  return serve
    .option('--announce', 'announce the broker by UDP multicast, so that vehicles find it')
    .option('--announce-interface <names>', 'only on these network interfaces, like "eth0,wlan0"', toInterfaces)
    .addOption(groupOption('--announce-group <addresses>', 'multicast groups that it announces itself to'))
    .option('--announce-port <n>', 'UDP port of the groups', toPort, DEFAULT_PORT)
    .option('--announce-ttl <n>', 'how far it goes; 1: not beyond the link', toTtl, DEFAULT_TTL)
    .option('--announce-host <host>', 'where vehicles connect (default: at the address that it comes from)', toHost)
    .addOption(new Option('--kind <kind>', 'what sort of place it is').choices(BROKER_KINDS).default('roadside'))
    .option('--position <degrees>', 'where it is: latitude and longitude, like "44.494,11.342"', toPosition)
    .option('--neighbour <id=url>', 'where a neighbour of the policy is; may be given again', toNeighbour)
    .option('--range <metres>', 'how far its radio reaches; 0: not known', toRange, 0);
}

/** @throws KerbError BadConfig when options do not fit together */
export function discoveryConfig(
  options: DiscoveryOptions & { readonly listen: { readonly host: string } },
): Pick<BrokerConfig, 'discovery' | 'neighbours'> {
  return { discovery: placeOf(options), ...(options.neighbour && { neighbours: options.neighbour }) };
}

function placeOf(options: Parameters<typeof discoveryConfig>[0]): DiscoveryConfig {
  const { announce, announceInterface, announceGroup, announcePort, announceTtl, announceHost } = options;
  const { listen, kind, position, range: rangeM } = options;
  const place = { kind, position, rangeM };
  if (!announce) {
    const given = announceInterface !== undefined ? '--announce-interface' : announceHost && '--announce-host';
    if (given) throw new KerbError(ErrorCode.BadConfig, `${given} needs --announce`);
    return { ...place, groups: [], host: '' };
  }
  const interfaces = announceInterface ?? [];
  const isLocal = /^(127\.|::1$|localhost$)/.test(listen.host);
  if (isLocal && announceHost === undefined && !(interfaces.length === 1 && interfaces[0] === 'lo')) {
    throw new KerbError(
      ErrorCode.BadConfig,
      `--announce would tell vehicles of ${listen.host}, which they cannot reach; give --listen 0.0.0.0:7443, or --announce-host with the address that they can reach`,
    );
  }
  const isEverywhere = listen.host === '0.0.0.0' || listen.host === '::';
  return {
    ...place,
    groups: announceGroup.map((group) => ({ group, port: announcePort, interfaces, ttl: announceTtl })),
    host: announceHost ?? (isEverywhere ? '' : listen.host),
  };
}

export function withGroups(command: Command): Command {
  return command
    .option('--interface <names>', 'listen on these network interfaces, like "eth0" (default: all)', toInterfaces)
    .addOption(groupOption('--group <addresses>', 'multicast groups that brokers announce themselves to'))
    .option('--group-port <n>', 'UDP port of the groups', toPort, DEFAULT_PORT);
}

function groupOption(flags: string, description: string): Option {
  return new Option(flags, description).default([...DEFAULT_GROUPS], DEFAULT_GROUPS.join(',')).argParser((text) => {
    const groups = text.split(',').map((one) => one.trim());
    const wrong = groups.find((one) => !isGroup(one));
    if (wrong === undefined) return groups;
    throw new InvalidArgumentError(
      `${JSON.stringify(wrong)} is not a valid multicast address: it must be like 239.255.75.66 or ff02::4b42`,
    );
  });
}

function toNeighbour(text: string, before: ReadonlyMap<string, string> = new Map()): ReadonlyMap<string, string> {
  const [id = '', ...rest] = text.split('=');
  if (!isId(id)) throw new InvalidArgumentError('write it like rsu-2=https://rsu-2.example.org:7443');
  return new Map([...before, [id, parseUrl(rest.join('='))]]);
}

function toInterfaces(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.every((name) => /^[^\s/%:]{1,15}$/.test(name))) return names;
  throw new InvalidArgumentError('write the names of network interfaces like "eth0,wlan0"');
}

function toPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError('a port is needed, 1 to 65535');
}

function toTtl(text: string): number {
  const ttl = Number(text);
  if (Number.isInteger(ttl) && ttl >= 0 && ttl <= MAX_TTL && text !== '') return ttl;
  throw new InvalidArgumentError(`a whole number is needed, 0 to ${MAX_TTL}`);
}

function toHost(text: string): string {
  if (isHost(text)) return text;
  throw new InvalidArgumentError('an IP address or a name without a port is needed');
}

function toRange(text: string): number {
  const metres = Number(text);
  if (Number.isInteger(metres) && metres >= 0 && metres <= MAX_RANGE_M && text !== '') return metres;
  throw new InvalidArgumentError(`whole metres are needed, 0 to ${MAX_RANGE_M}`);
}

function toPosition(text: string): Position {
  const [latitude = '', longitude = '', ...rest] = text.split(',').map((part) => part.trim());
  const isNumber = (part: string, most: number) =>
    /^-?\d{1,3}(\.\d{1,9})?$/.test(part) && Math.abs(Number(part)) <= most;
  if (rest.length === 0 && isNumber(latitude, 90) && isNumber(longitude, 180)) {
    return { latitude: Number(latitude), longitude: Number(longitude) };
  }
  throw new InvalidArgumentError('write it in degrees like "44.494,11.342": latitude, then longitude');
}
