/**
 * Grants `as: interface`: a pair of virtual CAN interfaces (vxcan), one end on the host, the other called like the bus
 * in the network namespace of the container, and rules of the kernel's CAN gateway (can-gw) that forward between the
 * host's end and the bus what the grant says. Programs in the container need nothing but CAN sockets, which need no
 * privilege.
 *
 * The namespace exists once the container's first process does, so the interface comes some milliseconds after that
 * process: everything but its last step, moving it in, is done before.
 *
 * What is in the kernel outlives an OBU that is killed, on purpose: its containers go on. The name of the host's end
 * says which OBU's it is and its alias which container's, so that the next OBU finds it.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { SerialQueue } from '../../shared/base/serial-queue.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { type ContainerLink, interfaceGrantProblem, readCubes, writeCubes } from '../grants/interface-rules.ts';
import type { CanGrant, Workload } from '../manifest/workload.ts';
import type { Report } from '../telemetry/report.ts';
import { DeniedFrames } from './denied-frames.ts';
import { syncRules } from './gateway-rules.ts';
import { NamespaceHolds } from './namespace-holds.ts';
import { hasInterface, ip, NET, readNet, readText, removeInterface, unavailable } from './net-tools.ts';
import { CANFD_MTU, isPeer, makePair, newHostEnd, peerOf } from './vxcan-pair.ts';

export interface ContainerInterfacesParts {
  /** Which OBU, on which state folder. */
  readonly owner: string;
  /** True when the containers are on this machine. */
  readonly local: boolean;
  /** The buses of this OBU, by the name that grants use. */
  readonly buses: ReadonlyMap<string, CanBus>;
  /** Process id of a container's first process, 0 when it does not run. */
  readonly pidOf: (container: string) => Promise<number>;
  readonly report: Report;
  readonly log: Logger;
}

interface Link extends ContainerLink {
  readonly bus: string;
}

interface Container {
  readonly id: string;
  readonly workload: Workload;
  readonly links: readonly Link[];
}

export class ContainerInterfaces {
  readonly #parts: ContainerInterfacesParts;
  /** Of the names of all host ends of this OBU: 6 characters. */
  readonly #prefix: string;
  readonly #containers = new Map<string, Container>();
  readonly #denied: DeniedFrames;
  readonly #holds = new NamespaceHolds();
  readonly #changes = new SerialQueue();
  readonly #unsubscribe: (() => void)[] = [];

  constructor(parts: ContainerInterfacesParts) {
    this.#parts = parts;
    this.#denied = new DeniedFrames({ report: parts.report, log: parts.log });
    const hash = createHash('sha256').update(parts.owner).digest('hex');
    this.#prefix = `kb${Number.parseInt(hash.slice(0, 5), 16).toString(36).padStart(4, '0')}`;
  }

  /** Removes what a killed OBU was in the middle of making, and watches the buses: rules die with their interface. */
  async start(): Promise<void> {
    const { buses, log } = this.#parts;
    await this.#changes.run(async () => {
      for (const { name } of this.#ours()) if (hasInterface(peerOf(name))) await removeInterface(name);
    });
    this.#denied.start(() => {
      // Containers that ended before this look are read for the last time.
      const ended = this.#holds.ended();
      return () => ended.forEach((id) => void this.#holds.release(id));
    });
    for (const bus of buses.values()) {
      const end = bus.onState(({ state }) => {
        if (state !== 'Up' || this.#links().length === 0) return;
        this.#changes
          .run(() => syncRules(this.#prefix, this.#links()))
          .catch((error: unknown) => {
            log.error({ err: messageOf(error) }, 'cannot restore the rules for CAN interfaces of containers');
          });
      });
      this.#unsubscribe.push(end);
    }
  }

  /** Ends its work and leaves the interfaces to containers that go on, and to the next OBU. */
  async leave(): Promise<void> {
    for (const end of this.#unsubscribe.splice(0)) end();
    await this.#changes.idle();
    this.#denied.stop();
    this.#holds.releaseAll();
  }

  /** Removes every interface of this OBU; the containers that have them are expected to be gone. */
  async stop(): Promise<void> {
    await this.leave();
    await this.#changes.run(async () => {
      this.#containers.clear();
      for (const { name } of this.#ours()) await removeInterface(name);
    });
  }

  /**
   * Makes the interfaces of a container that is about to start, up to where its namespace is needed.
   * @throws KerbError NoInterfaceGrant for a grant that cannot be an interface; CanInterfaceUnavailable that says what
   * this machine lacks and what to run
   */
  prepare(workload: Workload, id: string): Promise<void> {
    return this.#changes.run(() => this.#apply({ id, workload, links: [] }));
  }

  /**
   * Moves the interfaces into the namespace of the container, which has started.
   * @throws KerbError CanInterfaceUnavailable
   */
  attach(id: string): Promise<void> {
    return this.#changes.run(() => this.#moveIn(id));
  }

  /**
   * Takes over a running container that an OBU before us has started: interfaces that it has are kept.
   * @throws KerbError as `prepare` and `attach`
   */
  adopt(workload: Workload, id: string): Promise<void> {
    return this.#changes.run(async () => {
      const known = this.#ours().filter(({ container }) => container === shortId(id));
      const links = known.map(({ name, bus }) => ({ bus, host: name, device: '', fd: false, read: [], write: [] }));
      await this.#apply({ id, workload, links });
      await this.#moveIn(id);
    });
  }

  /** Removes the interfaces of a container; nothing happens when it has none. */
  detach(id: string): Promise<void> {
    return this.#changes.run(() => this.#detach(id));
  }

  /**
   * The manifest has changed: running containers are held to their grants of now.
   * @param wanted What a container of this workload is to be held to now; undefined when it stays as it is.
   */
  follow(wanted: (workload: Workload) => Workload | undefined): Promise<void> {
    return this.#changes.run(async () => {
      for (const container of [...this.#containers.values()]) {
        const workload = wanted(container.workload);
        if (workload === undefined || !grantsDiffer(workload, container.workload)) continue;
        try {
          await this.#apply({ ...container, workload });
          await this.#moveIn(container.id);
        } catch (error) {
          if (!isKerbError(error)) throw error;
          // Its rules are no longer known to be correct, so it gets none until it is started again.
          this.#containers.set(container.id, { ...container, workload, links: [] });
          this.#parts.report({ event: 'interface-fault', workload: workload.name, error });
        }
      }
    });
  }

  /** Makes and removes what is missing and too much; after a failure the container has no interfaces. */
  async #apply(container: Container): Promise<void> {
    const { id, workload, links: before } = container;
    const grants = workload.grants.can.filter(({ as }) => as === 'interface');
    const links: Link[] = [];
    try {
      for (const { bus, host } of before) {
        if (!grants.some((grant) => grant.bus === bus)) await this.#remove(host);
      }
      for (const grant of grants) {
        const known = before.find(({ bus, host }) => bus === grant.bus && hasInterface(host));
        const link = this.#linkOf(grant, workload.name, known?.host ?? newHostEnd(this.#prefix));
        links.push(link);
        if (known === undefined) await makePair(link.host, link.fd, `${shortId(id)} ${link.bus} ${workload.name}`);
      }
      this.#containers.set(id, { id, workload, links });
      if (links.length > 0 || before.length > 0) await syncRules(this.#prefix, this.#links());
      // After the rules: those of an OBU of before may still show it what the container reads.
      for (const { bus, host, write } of links) this.#denied.watch({ workload: workload.name, bus, host, write });
    } catch (error) {
      for (const { host } of [...before, ...links]) await this.#remove(host);
      this.#containers.delete(id);
      throw error;
    }
  }

  async #detach(id: string): Promise<void> {
    const links = this.#containers.get(id)?.links ?? [];
    this.#containers.delete(id);
    for (const { host } of links) await this.#remove(host);
    this.#holds.release(shortId(id));
  }

  async #remove(host: string): Promise<void> {
    this.#denied.unwatch(host);
    await removeInterface(host);
  }

  #linkOf(grant: CanGrant, workload: string, host: string): Link {
    const problem = interfaceGrantProblem(grant);
    if (problem !== undefined) {
      throw new KerbError(ErrorCode.NoInterfaceGrant, `CAN bus "${grant.bus}" of workload ${workload}: ${problem}`);
    }
    if (!this.#parts.local) throw unavailable('the Docker Engine is on another machine; use `as: socket`');
    const device = this.#deviceOf(grant.bus);
    const fd = Number(readNet(device, 'mtu')) >= CANFD_MTU;
    return { bus: grant.bus, device, host, fd, read: readCubes(grant.read), write: writeCubes(grant) };
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

  async #moveIn(id: string): Promise<void> {
    const links = this.#containers.get(id)?.links ?? [];
    if (links.length === 0) return;
    const waiting = links.filter(({ host }) => hasInterface(peerOf(host)));
    const pid = await this.#parts.pidOf(id);
    const cgroup = () => (pid > 0 ? readText(`/proc/${pid}/cgroup`) : '');
    const found = cgroup();
    // A container that has ended already needs none; that it has is seen elsewhere.
    if (found === '') return;
    if (!found.includes(shortId(id))) {
      throw unavailable(`process ${pid} is not of container ${shortId(id)}; is its engine on this machine?`);
    }
    this.#holds.hold(shortId(id), pid);
    try {
      for (const { host, bus } of waiting) await ip('link', 'set', peerOf(host), 'netns', `${pid}`, 'name', bus, 'up');
    } catch (error) {
      if (cgroup() !== '') throw error;
    }
  }

  #links(): Link[] {
    return [...this.#containers.values()].flatMap(({ links }) => links);
  }

  /** The host's ends of all pairs that an OBU of our name has made here. */
  #ours(): { readonly name: string; readonly container: string; readonly bus: string }[] {
    return readdirSync(NET).flatMap((name) => {
      if (!name.startsWith(this.#prefix) || isPeer(name)) return [];
      const [container = '', bus = ''] = readNet(name, 'ifalias').split(' ');
      return [{ name, container, bus }];
    });
  }
}

function grantsDiffer(a: Workload, b: Workload): boolean {
  return JSON.stringify(a.grants.can) !== JSON.stringify(b.grants.can);
}

/** Long enough to be one container, short enough for an alias and for a person. */
function shortId(container: string): string {
  return container.slice(0, 12);
}
