/**
 * Grants `as: interface`: a pair of virtual CAN interfaces (vxcan), one end on the host, the other called like the bus in
 * the network namespace of the container, and rules of the kernel's CAN gateway (can-gw) that forward between the host's
 * end and the bus what the grant says. Programs in the container need nothing but CAN sockets, which need no privilege.
 *
 * The namespace exists once the container's first process does, so the interface comes some milliseconds after that
 * process: everything but its last step, moving it in, is done before.
 *
 * What is in the kernel outlives an OBU that is killed, on purpose: its containers go on. The name of the host's end
 * says which OBU's it is and its alias which container's, so that the next OBU finds it. Interface indexes are random: can-gw drops a frame silently when the
 * index that it came in on equals that of the destination, and it compares them across namespaces.
 */
import { createHash, randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { ErrorCode, KerbError, messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { CanGrant, Workload } from '../manifest/workload.ts';
import type { CanBus } from './bus.ts';
import {
  type ContainerLink,
  type GatewayRule,
  interfaceGrantProblem,
  readCubes,
  rulesOf,
  writeCubes,
} from './interface-rules.ts';
import { hasInterface, ip, NET, readNet, readText, removeInterface, tool, unavailable } from './net-tools.ts';

const CANFD_MTU = 72;
const PEER = '-in';

export interface ContainerInterfacesParts {
  /** Which OBU, on which state folder. */
  readonly owner: string;
  /** Whether the containers are on this machine. */
  readonly local: boolean;
  /** The buses of this OBU, by the name that grants use. */
  readonly buses: ReadonlyMap<string, CanBus>;
  readonly log: Logger;
}

interface Link extends ContainerLink {
  readonly container: string;
  readonly bus: string;
  /** Name of the container's end while it is on the host. */
  readonly peer: string;
}

export class ContainerInterfaces {
  readonly #parts: ContainerInterfacesParts;
  /** Of the names of all host ends of this OBU: 6 characters. */
  readonly #prefix: string;
  #links: readonly Link[] = [];
  /** Rules that are in the kernel, with the indexes of their interfaces: a rule dies with either of them. */
  #installed = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();
  readonly #unsubscribe: (() => void)[] = [];

  constructor(parts: ContainerInterfacesParts) {
    this.#parts = parts;
    const hash = createHash('sha256').update(parts.owner).digest('hex');
    this.#prefix = `kb${Number.parseInt(hash.slice(0, 5), 16).toString(36).padStart(4, '0')}`;
  }

  /** Removes what a killed OBU was in the middle of making, and watches the buses: rules die with their interface. */
  async start(): Promise<void> {
    const { buses, log } = this.#parts;
    await this.#inTurn(async () => {
      for (const host of this.#ours()) if (hasInterface(peerOf(host.name))) await removeInterface(host.name);
    });
    for (const bus of buses.values()) {
      const restore = () => this.#inTurn(() => this.#sync('new'));
      const end = bus.onState(({ state }) => {
        if (state !== 'Up' || this.#links.length === 0) return;
        restore().catch((error: unknown) => log.error(`CAN interfaces of containers: ${messageOf(error)}`));
      });
      this.#unsubscribe.push(end);
    }
  }

  /** Removes every interface of this OBU; the containers that have them are expected to be gone. */
  async stop(): Promise<void> {
    for (const end of this.#unsubscribe.splice(0)) end();
    await this.#inTurn(async () => {
      this.#links = [];
      for (const { name } of this.#ours()) await removeInterface(name);
    });
  }

  /**
   * Makes the interfaces of a container that is about to start, up to where its namespace is needed.
   * @throws KerbError NoInterfaceGrant for a grant that cannot be an interface; CanInterfaceUnavailable that says what
   * this machine lacks and what to run
   */
  prepare(workload: Workload, container: string): Promise<void> {
    return this.#inTurn(() => this.#prepare(workload, container));
  }

  async #prepare(workload: Workload, container: string): Promise<void> {
    const grants = workload.grants.can.filter(({ as }) => as === 'interface');
    if (grants.length === 0) return;
    try {
      for (const grant of grants) {
        const link = this.#linkOf(grant, workload.name, container, `${this.#prefix}${newIndex().toString(36)}`);
        const { host, peer, bus, fd } = link;
        const mtu = ['mtu', fd ? '72' : '16'];
        const peerIndex = String(newIndex());
        await ip(
          ...['link', 'add', host, ...mtu, 'index', String(newIndex())],
          ...['type', 'vxcan', 'peer', 'name', peer, ...mtu, 'index', peerIndex],
        );
        this.#links = [...this.#links, link];
        await ip('link', 'set', host, 'alias', `${shortId(container)} ${bus} ${workload.name}`, 'up');
      }
      await this.#sync('new');
    } catch (error) {
      await this.#detach(container);
      throw error;
    }
  }

  /**
   * Moves the interfaces into the namespace of the container, whose first process has this pid.
   * @throws KerbError CanInterfaceUnavailable
   */
  attach(container: string, pid: number): Promise<void> {
    return this.#inTurn(async () => {
      for (const { peer, bus, container: whose } of this.#links) {
        if (whose === container && hasInterface(peer)) await this.#moveIn(peer, bus, container, pid);
      }
    });
  }

  /**
   * Takes over a container that an OBU before us has started: its interfaces are kept when they are there.
   * @throws KerbError as `prepare` and `attach`
   */
  adopt(workload: Workload, container: string, pid: number): Promise<void> {
    return this.#inTurn(async () => {
      const grants = workload.grants.can.filter(({ as }) => as === 'interface');
      if (grants.length === 0) return;
      const found = this.#ours().filter((one) => one.container === shortId(container));
      const whole = grants.every(({ bus }) => found.some((one) => one.bus === bus && !hasInterface(peerOf(one.name))));
      if (whole) {
        const kept = grants.map((grant) => {
          const { name } = found.find(({ bus }) => bus === grant.bus)!;
          return this.#linkOf(grant, workload.name, container, name);
        });
        this.#links = [...this.#links.filter((link) => link.container !== container), ...kept];
        await this.#sync('may exist');
        return;
      }
      for (const { name } of found) await removeInterface(name);
      await this.#prepare(workload, container);
      for (const { peer, bus, container: whose } of this.#links) {
        if (whose === container) await this.#moveIn(peer, bus, container, pid);
      }
    });
  }

  /** Removes the interfaces of a container; nothing happens when it has none. */
  detach(container: string): Promise<void> {
    return this.#inTurn(() => this.#detach(container));
  }

  async #detach(container: string): Promise<void> {
    const gone = this.#links.filter((link) => link.container === container);
    this.#links = this.#links.filter((link) => link.container !== container);
    for (const { host } of gone) await removeInterface(host);
  }

  #linkOf(grant: CanGrant, workload: string, container: string, host: string): Link {
    const problem = interfaceGrantProblem(grant);
    if (problem !== undefined) {
      throw new KerbError(ErrorCode.NoInterfaceGrant, `CAN bus "${grant.bus}" of workload ${workload}: ${problem}`);
    }
    if (!this.#parts.local) throw unavailable('the Docker Engine is on another machine; use `as: socket`');
    const device = this.#deviceOf(grant.bus);
    const fd = Number(readNet(device, 'mtu')) >= CANFD_MTU;
    const [read, write] = [readCubes(grant.read), writeCubes(grant)];
    return { container, bus: grant.bus, device, host, peer: peerOf(host), fd, read, write };
  }

  #deviceOf(bus: string): string {
    const found = this.#parts.buses.get(bus);
    if (found === undefined) throw unavailable(`this OBU has no CAN bus "${bus}"`);
    if (found.kind !== 'socketcan') {
      throw unavailable(
        `CAN bus "${bus}" is the userspace bus, and only SocketCAN can be an interface in a container; use \`as: socket\``,
      );
    }
    if (!hasInterface(found.name)) throw unavailable(`there is no CAN interface ${found.name} for bus "${bus}"`);
    return found.name;
  }

  async #moveIn(peer: string, bus: string, container: string, pid: number): Promise<void> {
    const cgroup = () => readText(`/proc/${pid}/cgroup`);
    const found = cgroup();
    // A container that has ended already needs none; that it has is seen elsewhere.
    if (found === '') return;
    if (!found.includes(shortId(container))) {
      throw unavailable(`process ${pid} is not of container ${shortId(container)}; is its engine on this machine?`);
    }
    try {
      await ip('link', 'set', peer, 'netns', String(pid), 'name', bus, 'up');
    } catch (error) {
      if (cgroup() !== '') throw error;
    }
  }

  /**
   * Adds the rules that are missing. Those of interfaces that are gone are gone with them.
   * @param missing What is known of those that we did not add: a rule that is there twice doubles the frames.
   */
  async #sync(missing: 'new' | 'may exist'): Promise<void> {
    const links = this.#links.filter(({ device, host }) => hasInterface(device) && hasInterface(host));
    const rules = new Map(rulesOf(links).map((rule) => [keyOf(rule), rule]));
    this.#installed = new Set([...this.#installed].filter((key) => rules.has(key)));
    for (const [key, rule] of rules) {
      if (this.#installed.has(key)) continue;
      const args = argsOf(rule);
      // Fails when there was none, which is well; anything else fails again in the next line.
      if (missing === 'may exist') await tool('cangw', ['-D', ...args]).catch(() => undefined);
      try {
        await tool('cangw', ['-A', ...args]);
      } catch (error) {
        // A container or a bus that goes takes its interface with it, at any moment.
        if (hasInterface(rule.from) && hasInterface(rule.to)) throw error;
        continue;
      }
      this.#installed.add(key);
    }
  }

  /** The host's ends of all pairs that an OBU of our name has made here. */
  #ours(): { readonly name: string; readonly container: string; readonly bus: string }[] {
    return readdirSync(NET).flatMap((name) => {
      if (!name.startsWith(this.#prefix) || name.endsWith(PEER)) return [];
      const [container = '', bus = ''] = readNet(name, 'ifalias').split(' ');
      return [{ name, container, bus }];
    });
  }

  /** One change after the other. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

function argsOf({ from, to, fd, cube }: GatewayRule): string[] {
  const filter = `${cube.id.toString(16)}:${cube.mask.toString(16)}`;
  // -e: programs on the destination's own host see the frame as well.
  return ['-s', from, '-d', to, '-e', ...(fd ? ['-X'] : []), '-f', filter];
}

function keyOf(rule: GatewayRule): string {
  return [...argsOf(rule), readNet(rule.from, 'ifindex'), readNet(rule.to, 'ifindex')].join(' ');
}

/** One that nobody else has; six digits in base 36. An index has 31 bits, the kernel counts its own from 1. */
function newIndex(): number {
  return randomInt(0x10000000, 0x40000000);
}

/** The container's end while it is on the host; at most 15 characters, and no host end's name ends like that. */
function peerOf(host: string): string {
  return `${host}${PEER}`;
}

/** Long enough to be one container, short enough for an alias and for a person. */
function shortId(container: string): string {
  return container.slice(0, 12);
}
