import { kerbside } from '../protocol/generated/v2e.js';
import { bytesOf } from '../protocol/v2e-socket.ts';

/** Messages of a client that are not offloads. */
export type AskedEvent = 'push' | 'describe' | 'announce' | 'claim' | 'state';

/** A task that a broker has announced. Sizes in bytes. */
export interface TaskOffer {
  readonly digest: string;
  readonly name: string;
  readonly version: string;
  readonly maxInput: number;
  readonly maxOutput: number;
  /** It takes the state of a session with its input. */
  readonly hasState: boolean;
}

/** What a broker says when a client is connected, and whenever its tasks change. */
export interface Announcement {
  /** Of the protocol. */
  readonly version: number;
  /** As in its certificate. */
  readonly broker: string;
  readonly tasks: readonly TaskOffer[];
  /** Bytes of input of any task. */
  readonly maxInput: number;
  /** Of the features that a request may need, those that it has. */
  readonly features: readonly string[];
}

/** How a broker takes an offload of one task. */
export interface BrokerWay {
  /** Of the protocol. */
  readonly version: number;
  /** It takes inputs in chunks. */
  readonly chunks: boolean;
  /** Bytes of output that the task may have; 0: it is not announced. */
  readonly maxOutput: number;
}

export function wayOf({ version, features, tasks }: Announcement, taskDigest: string): BrokerWay {
  const offer = tasks.find(({ digest }) => digest === taskDigest);
  const chunks = version >= 2 && features.includes('chunks');
  return { version, chunks, maxOutput: offer?.maxOutput ?? 0 };
}

/** @throws Error when it cannot be read */
export function decodeAnnouncement(payload: unknown): Announcement {
  const { version, broker, tasks, maxInput, features } = kerbside.v2e.ServiceAnnouncement.decode(bytesOf(payload));
  const offers = tasks.map((task) => ({
    digest: task.digest ?? '',
    name: task.name ?? '',
    version: task.version ?? '',
    maxInput: task.maxInput ?? 0,
    maxOutput: task.maxOutput ?? 0,
    hasState: task.hasState ?? false,
  }));
  return { version, broker, tasks: offers, maxInput, features };
}
