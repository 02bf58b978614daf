/**
 * A bus over the kernel's SocketCAN, through the npm package `socketcan` (4.3).
 *
 * What the package does not tell, and what follows:
 * - Whether a received frame was a CAN FD frame. More than 8 bytes can only be FD and are marked so; an FD frame of
 *   0..8 bytes looks like a classical one. BRS and ESI are never known on receive.
 * - ESI cannot be set when sending: it is the controller's to set, so a frame that has it is sent without.
 * - Why the kernel did not take a frame. The error names the usual reasons.
 * - That the kernel dropped frames; receive-losses.ts finds out in another way. The receive buffer's size cannot be set
 *   from here; `sysctl net.core.rmem_default` makes all of them larger.
 * - That the interface was set down, which the package survives; its flags are looked at each second.
 *
 * When the interface is removed, the channel ends; a new one is attached as soon as the interface is there again.
 */
import { readFileSync } from 'node:fs';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { BusCore } from './bus-core.ts';
import { CoreBus } from './core-bus.ts';
import type { CanFrame } from './frame.ts';
import { LossCounter, makeMarkerFilter, matchesOf, readReceiveList, takeLook } from './receive-losses.ts';
import { keepUntilClosed, openRawChannel, type RawChannel, toFrame } from './socketcan-package.ts';

const LOOK_MS = 1000;
const RETRY_MS = 500;
/** ARPHRD_CAN of linux/if_arp.h. */
const CAN_DEVICE_TYPE = '280';
const IFF_UP = 1;
const CAN_MTU = 16;
const CANFD_MTU = 72;

/** True when the kernel has a CAN interface of this name. */
export function isCanInterface(name: string): boolean {
  return readInterface(name, 'type') === CAN_DEVICE_TYPE;
}

/** A value of /sys/class/net, or undefined where there is no such interface. */
function readInterface(name: string, key: 'type' | 'flags' | 'mtu' | 'ifindex'): string | undefined {
  if (!/^[^/\s]{1,15}$/.test(name) || name === '.' || name === '..') return undefined;
  try {
    return readFileSync(`/sys/class/net/${name}/${key}`, 'latin1').trim();
  } catch {
    return undefined;
  }
}

export interface SocketCanBusOptions {
  /** The interface, `can0`. */
  readonly name: string;
  readonly log: Logger;
  /** Of the bus that this one works for; default: one of its own. */
  readonly core?: BusCore | undefined;
}

export class SocketCanBus extends CoreBus {
  readonly kind = 'socketcan';
  readonly #options: SocketCanBusOptions;
  #running = false;
  #channel: RawChannel | undefined;
  #timer: NodeJS.Timeout | undefined;
  #losses = new LossCounter();

  constructor(options: SocketCanBusOptions) {
    super(options.core);
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** @throws KerbError BusUnavailable: no such interface, or the package was not built */
  async start(): Promise<void> {
    if (this.#running) return;
    this.#attach();
    this.#running = true;
  }

  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    const channel = this.#channel;
    this.#channel = undefined;
    if (channel !== undefined) {
      channel.stop();
      keepUntilClosed(channel);
    }
    this.core.down('stopped');
  }

  send(frame: CanFrame): void {
    this.core.mustBeSendable(frame, this.name);
    const channel = this.#channel!;
    const { id, ext, rtr } = frame;
    const data = Buffer.from(frame.data.buffer, frame.data.byteOffset, frame.data.length);
    const written = frame.fd
      ? channel.sendFD({ id, ext, fd_brs: frame.brs, data })
      : channel.send({ id, ext, rtr, data });
    if (written !== (frame.fd ? CANFD_MTU : CAN_MTU)) throw this.#writeFailed(frame);
    this.#losses.sent();
    this.core.countSent(frame);
  }

  /** `context.noFd` is true when the interface will never take a frame like this one. */
  #writeFailed(frame: CanFrame): KerbError {
    const { name } = this;
    const noFd = frame.fd && Number(readInterface(name, 'mtu')) < CANFD_MTU;
    const why = noFd
      ? `it takes no CAN FD frames; try: ip link set ${name} down; ip link set ${name} mtu ${CANFD_MTU}; ip link set ${name} up`
      : 'its transmit queue is full, or it is down; send fewer frames, or look at: ip -details link show';
    return new KerbError(ErrorCode.BusWriteFailed, `${name} did not take the frame: ${why}`, { bus: name, noFd });
  }

  #attach(): void {
    const { name } = this;
    if (!isCanInterface(name)) {
      throw this.#unavailable(
        readInterface(name, 'type') === undefined
          ? `there is no such interface; make one with: ip link add dev ${name} type vcan; ip link set ${name} up`
          : 'it is an interface, but not a CAN interface',
      );
    }
    let channel: RawChannel;
    try {
      channel = openRawChannel(name);
    } catch (error) {
      throw this.#unavailable(
        `${messageOf(error).split('\n')[0]}; is the package socketcan built (npm rebuild)?`,
        error,
      );
    }
    const marker = makeMarkerFilter();
    channel.setRxFilters({ ...marker, invert: true });
    const losses = new LossCounter();
    channel.addListener('onMessage', (message) => {
      if (this.#channel !== channel) return;
      const frame = toFrame(message);
      if (!frame.err) losses.received(frame.timeUs);
      this.core.deliver(frame);
    });
    channel.addListener('onStopped', () => {
      if (this.#channel === channel) this.#lost(channel);
    });
    channel.start();
    this.#channel = channel;
    this.#losses = losses;
    let known = 0;
    this.#look(() => {
      takeLook(losses, () => {
        const list = readReceiveList();
        return list === undefined ? undefined : matchesOf(list, name, marker);
      });
      const lost = losses.lost - known;
      if (lost === 0) return;
      known += lost;
      this.core.countDropped(lost);
      this.#options.log.warn({ bus: name, lost }, 'frames lost: this program reads too slowly');
    });
  }

  /** Looks now and each second at what the package does not tell. */
  #look(countLosses: () => void): void {
    const { name } = this;
    if ((Number(readInterface(name, 'flags')) & IFF_UP) === 0) {
      this.core.down(`the interface is down; set it up with: ip link set ${name} up`);
    } else {
      this.core.up();
    }
    countLosses();
    this.#timer = setTimeout(() => this.#look(countLosses), LOOK_MS);
  }

  /** The interface was removed. The package has ended the channel by itself once the callback returns. */
  #lost(channel: RawChannel): void {
    this.#channel = undefined;
    keepUntilClosed(channel);
    clearTimeout(this.#timer);
    const reason = 'the interface was removed';
    this.core.down(reason);
    this.#options.log.warn({ bus: this.name, reason }, 'the bus is down; trying again');
    this.#retry();
  }

  #retry(): void {
    this.#timer = setTimeout(() => {
      try {
        this.#attach();
        this.#options.log.info({ bus: this.name }, 'attached to the bus again');
      } catch (error) {
        this.core.down(messageOf(error));
        this.#retry();
      }
    }, RETRY_MS);
  }

  #unavailable(what: string, cause?: unknown): KerbError {
    return new KerbError(
      ErrorCode.BusUnavailable,
      `cannot attach to CAN interface ${this.name}: ${what}`,
      { bus: this.name },
      { cause },
    );
  }
}
