import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { Command } from 'commander';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { registerBrokerCommands } from '../../cli/broker/broker-commands.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { BrokerFinder } from '../../shared/discovery/broker-finder.ts';
import { Multicast, type MulticastOptions } from '../../shared/discovery/multicast.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { describeWhere } from '../../test/support/machine/not-run.ts';
import { until } from '../../test/support/until.ts';
import type { DiscoveryConfig } from './discovery-config.ts';

const scene = new BrokerScene();
let printed = '';
let said = '';
beforeEach(() => {
  [printed, said] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += text;
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await scene.stop();
});
afterAll(() => scene.remove());

/** On the loopback; a group and a port of their own, so that nothing else on this machine is heard. */
function groupOf(group: string): MulticastOptions {
  const port = 20_000 + (process.pid % 20_000);
  return { group, port, interfaces: ['lo'], ttl: 0 };
}
const IPV4 = groupOf('239.255.75.67');
const onLoopback = (groups: readonly MulticastOptions[]): DiscoveryConfig => ({
  ...{ groups, host: '', kind: 'roadside', rangeM: 250 },
  position: { latitude: 44.494, longitude: 11.342 },
});

async function find(...args: string[]): Promise<string> {
  const program = new Command().exitOverride();
  registerBrokerCommands(program);
  const where = ['--interface', 'lo', '--group', IPV4.group, '--group-port', String(IPV4.port), '--wait', '450ms'];
  await program.parseAsync(['broker', 'find', ...where, ...args], { from: 'user' });
  return printed;
}

describe('kerb broker find', () => {
  it('lists who is there, and with an identity who is verified', async () => {
    const { broker } = await scene.start({ discovery: onLoopback([IPV4]) });
    const identity = await scene.identityDir({ kind: 'operator', id: 'alice' });
    const [found] = JSON.parse(await find('--json', '--identity', identity));
    expect(found).toMatchObject({
      ...{ broker: 'rsu-1', state: 'verified', reason: '', url: broker.url, kind: 'roadside', rangeM: 250 },
      ...{ position: { latitude: 44.494, longitude: 11.342 }, queueMs: 0, freeTenders: 1 },
    });
    printed = '';
    expect(await find()).toMatch(
      /^BROKER +STATE .*\nrsu-1 +unverified +roadside +https:.*certificate has not been seen/,
    );
  });

  it('verifies nobody by the authorities of others', async () => {
    await scene.start({ discovery: onLoopback([IPV4]) });
    const other = new BrokerScene();
    const identity = await other.identityDir({ kind: 'operator', id: 'alice' });
    const [found] = JSON.parse(await find('--json', '--identity', identity));
    expect(found).toMatchObject({ state: 'unverified', reason: expect.stringMatching(/could not be asked/) });
    other.remove();
  });

  it('says so when nothing answers, and what is wrong with an interface', async () => {
    expect(await find('--interface', 'nowhere0')).toMatch(/^no broker was heard within 0.5 s; .*--announce/);
    expect(said).toMatch(/interface nowhere0 is not there/);
  });

  it('asks a broker by list whom it knows, and believes only what is signed', async () => {
    const { broker } = await scene.start();
    const identity = await scene.identityDir({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
    const [found] = JSON.parse(await find('--json', '--identity', identity, '--broker', broker.url));
    expect(found).toMatchObject({ broker: 'rsu-1', state: 'verified', url: broker.url, queueMs: 0 });
    await expect(find('--broker', broker.url)).rejects.toMatchObject({ code: ErrorCode.BadConfig });
  });

  it.each([
    [['find', '--group', '10.0.0.1'], /multicast/],
    [['find', '--group-port', '0'], /port/],
    [['find', '--interface', 'a b'], /interfaces/],
    [['serve', '--id', 'a', '--packages', 'p', '--position', '91,0'], /latitude/],
    [['serve', '--id', 'a', '--packages', 'p', '--range', '-1'], /metres/],
    [['serve', '--id', 'a', '--packages', 'p', '--announce-ttl', '256'], /255/],
    [['serve', '--id', 'a', '--packages', 'p', '--announce-host', 'a:1'], /without a port/],
    [['serve', '--id', 'a', '--packages', 'p', '--kind', 'boat'], /roadside/],
  ])('%s is wrong usage', async (args, why) => {
    const program = new Command().exitOverride();
    registerBrokerCommands(program);
    await expect(program.parseAsync(['broker', ...args], { from: 'user' })).rejects.toThrow(why);
  });

  it.each([
    [['--announce'], /cannot reach/],
    [['--announce-host', 'rsu-1'], /needs --announce/],
    [['--announce-interface', 'eth0'], /needs --announce/],
  ])('serve %s alone is refused', async (args, why) => {
    const program = new Command().exitOverride();
    registerBrokerCommands(program);
    const serve = ['broker', 'serve', '--id', 'a', '--packages', scene.root, '--state', `${scene.root}/state`];
    await expect(program.parseAsync([...serve, ...args], { from: 'user' })).rejects.toThrow(why);
  });
});

it('keeps serving, and finding, under garbage on the group', async () => {
  const { broker } = await scene.start({ discovery: onLoopback([IPV4]) });
  const identity = await loadIdentity(await scene.identityDir({ kind: 'operator', id: 'bob' }), 'operator');
  const finder = new BrokerFinder({ groups: [IPV4], identity: () => identity, asks: true });
  finder.start();
  const socket = createSocket('udp4');
  try {
    socket.bind(0);
    await new Promise((resolve) => socket.once('listening', resolve));
    socket.setMulticastInterface('127.0.0.1');
    for (let size = 0; size < 1200; size += 7) socket.send(Buffer.alloc(size, size), IPV4.port, IPV4.group);
    await until('the broker is verified', () => finder.list().some(({ state }) => state === 'verified'));
    expect(finder.table.counts.malformed).toBeGreaterThan(0);
    expect((await scene.vehicle(broker)).connected).toBe(true);
  } finally {
    socket.close();
    finder.stop();
  }
});

/** Sends until something is heard. */
async function loop(socket: Multicast, heard: readonly string[]): Promise<void> {
  await until('it is heard', () => {
    socket.send(Buffer.from('here'));
    return heard.length > 0;
  });
}

const IPV6 = Object.entries(networkInterfaces()).find(([, all]) =>
  all?.some(({ family, internal }) => family === 'IPv6' && !internal),
)?.[0];

describeWhere(IPV6 === undefined ? 'no interface has an IPv6 address' : undefined, 'announcements over IPv6', () => {
  it('are heard on the link', async () => {
    const heard: string[] = [];
    const socket = new Multicast(
      { ...groupOf('ff02::4b43'), interfaces: [IPV6!] },
      { onDatagram: (_, from) => heard.push(from), onTrouble: (_, reason) => expect(reason).toBe('') },
    );
    socket.start();
    try {
      await loop(socket, heard);
      expect(heard[0]).toMatch(/:/);
    } finally {
      socket.stop();
    }
  });
});

it('uses an interface that comes back', async () => {
  const heard: string[] = [];
  const troubles: string[] = [];
  let isThere = false;
  const socket = new Multicast(
    groupOf('239.255.75.68'),
    { onDatagram: (datagram) => heard.push(String(datagram)), onTrouble: (_, reason) => troubles.push(reason) },
    () => (isThere ? { lo: networkInterfaces().lo! } : {}),
  );
  socket.start();
  try {
    expect(troubles).toEqual([expect.stringMatching(/interface lo is not there/)]);
    for (const round of [1, 2]) {
      isThere = true;
      heard.length = 0;
      await loop(socket, heard);
      expect(heard[0], `in round ${round}`).toBe('here');
      expect(troubles.at(-1)).toBe('');
      isThere = false;
      await until('it is gone', () => socket.interfaces.length === 0);
      expect(troubles.at(-1)).toMatch(/interface lo is not there/);
    }
  } finally {
    socket.stop();
  }
});

it('tells nobody of itself while it is drained', async () => {
  const { broker, api } = await scene.start();
  const identity = await scene.identityDir({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  const program = new Command().exitOverride();
  registerBrokerCommands(program);
  await program.parseAsync(['broker', 'drain', '--no-wait', '--api', api], { from: 'user' });
  printed = '';
  expect(JSON.parse(await find('--json', '--identity', identity, '--broker', broker.url))).toEqual([]);
});
