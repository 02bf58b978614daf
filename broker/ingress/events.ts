import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { quoted } from '../../shared/base/quoted.ts';
import { refusalOf } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { encodeChunkReply } from '../../shared/protocol/chunks.ts';
import { shownRefusal } from '../../shared/protocol/shown-refusal.ts';
import type { V2eEvent } from '../../shared/protocol/v2e-parser.ts';
import type { VehicleClaim } from '../neighbours/result-claims.ts';
import {
  type Answer,
  type AnyOffload,
  type IncomingOffload,
  isAnnounced,
  type TaskResult,
} from '../offloads/offload.ts';
import type { TaskDescription, TaskQuery } from '../packages/describe.ts';
import type { PushClient } from '../packages/push-session.ts';
import type { KeyAnswer, KeyRequest } from '../state/key-requests.ts';
import { decodeOffload, encodeLargeResult, encodeRefusal, encodeResult } from './codec.ts';
import type { LinkAnswer } from './link-types.ts';
import {
  decodeCancel,
  decodeClaim,
  decodeDescribe,
  decodeState,
  encodeCancelled,
  encodeConflict,
  encodeDescription,
  encodeEntry,
  refuseEvent,
} from './replies.ts';
import { type TransferOptions, Transfers } from './transfers/transfers.ts';
import type { VehicleLink } from './vehicle-link.ts';

/** The rest of the broker, as the events of vehicles need it. */
export interface EventOptions {
  /** As in its certificate. */
  readonly broker: string;
  /** @param link that the caller came by; compared, never looked into */
  readonly submit: (offload: IncomingOffload, answer: Answer, link: object) => void;
  /** @returns false: no such offload of this vehicle waits or runs */
  readonly cancel: (client: VehiclePrincipal, id: string) => boolean;
  /** @throws KerbError */
  readonly describe: (client: VehiclePrincipal, query: TaskQuery) => Promise<TaskDescription>;
  /** An encoded AnnounceReply: the brokers that this one knows, itself first. */
  readonly announcements: () => Uint8Array;
  /** A vehicle wants the result of an offload that a neighbour has. */
  readonly claim: (client: VehiclePrincipal, claim: VehicleClaim, answer: Answer) => void;
  /** Reads or writes one key of the state of sessions. */
  readonly state: (client: VehiclePrincipal, request: KeyRequest) => Promise<KeyAnswer>;
  /** Takes what a new connection pushes. */
  readonly pushes: (client: VehiclePrincipal) => PushClient;
  readonly transfers: TransferOptions;
  /** A client was turned away, or sent something that could not be used. */
  readonly onRefused: (client: string, error: KerbError) => void;
}

/** Of version 2, and done by none of this version. */
const RESERVED: readonly string[] = ['offer'];
const OF_VERSION_2: readonly string[] = [
  ...['announce', 'cancel', 'chunk', 'claim', 'credit', 'describe', 'state'],
  ...RESERVED,
];
/** They may want no acknowledgement. */
const PIECES: readonly string[] = ['chunk', 'credit'];
/** Of one connection, at the same time. */
const MAX_DESCRIBING = 4;
const MAX_STATE_REQUESTS = 32;
/** A request that was over a limit may be worth another try after this time, in milliseconds. */
const RETRY_MS = 1000;

/** The events of V2E, each handled when its turn has come. */
export class Events {
  readonly #options: EventOptions;
  readonly transfers: Transfers;

  constructor(options: EventOptions) {
    this.#options = options;
    this.transfers = new Transfers(options.transfers);
  }

  /** @param quota the limit that this was over for too long; empty: none */
  handle(link: VehicleLink, { name, argument, ack }: V2eEvent, arrivedAt: number, quota: string): void {
    const client = link.client!;
    if (PIECES.includes(name) && client.version >= 2 && (ack === undefined || !link.isOpen(ack))) {
      this.#piece(link, name, argument, ack);
      return;
    }
    if (ack === undefined || link.isOpen(ack)) {
      // There is nothing to answer with: what speaks so is no client of ours.
      const what = ack === undefined ? 'it wants no acknowledgement' : 'its acknowledgement is in use';
      link.end(badRequest(`an event cannot be used: ${what}`));
      return;
    }
    if (name === 'offload') {
      this.#offload(link, argument, ack, arrivedAt, quota);
      return;
    }
    try {
      if (quota !== '') throw overQuota(quota);
      if (client.version < 2 && OF_VERSION_2.includes(name)) throw notSupported(name, 'version 1 of V2E has no');
      if (name === 'claim') this.#claim(link, argument, ack, arrivedAt);
      else this.#other(link, name, argument, ack);
    } catch (error) {
      this.#refuse(link, name, ack, error);
    }
  }

  #offload(link: VehicleLink, argument: Buffer, ack: number, arrivedAt: number, quota: string): void {
    let offload: AnyOffload;
    try {
      offload = decodeOffload(argument, link.client!, arrivedAt);
      const spent = quota === '' && isAnnounced(offload) ? overBytes(link, offload.input.length) : quota;
      if (spent !== '') throw overQuota(spent, offload.id);
    } catch (error) {
      const problem = isKerbError(error) ? error : badRequest(messageOf(error));
      const why = { ...shownRefusal(refusalOf(problem)), ...quotaOf(problem) };
      link.answer(ack, encodeRefusal(String(problem.context.id ?? ''), why, 0));
      this.#options.onRefused(`vehicle ${link.client!.id}`, problem);
      return;
    }
    const { id, input } = offload;
    const answer = link.begin(id, ack, arrivedAt, isAnnounced(offload) ? input.length : argument.length);
    const done: Answer = (result, refusal) => {
      if (result !== undefined) this.#give(link, id, result, answer);
      else if (refusal !== undefined) answer((heldMs) => encodeRefusal(id, shownRefusal(refusal), heldMs));
    };
    if (isAnnounced(offload)) this.transfers.announce(link, offload, done);
    else this.#options.submit(offload, done, link);
  }

  /** A small output at once and whole, a large one in chunks where the vehicle can take them. */
  #give(link: VehicleLink, id: string, result: TaskResult, answer: LinkAnswer, broker = this.#options.broker): void {
    try {
      const payload = this.transfers.payloadOf(link, id, result);
      if (payload === undefined) answer((heldMs) => encodeResult(id, result, broker, heldMs), result.output.length);
      else void payload.then((one) => answer((heldMs) => encodeLargeResult(id, result, one, broker, heldMs)));
    } catch (error) {
      const problem = error as KerbError;
      const why = { ...shownRefusal(refusalOf(problem)), ...quotaOf(problem) };
      answer((heldMs) => encodeRefusal(id, why, heldMs));
    }
  }

  #piece(link: VehicleLink, name: string, argument: Buffer, ack: number | undefined): void {
    try {
      if (name === 'chunk') this.transfers.chunk(link, argument, ack);
      else {
        this.transfers.credit(link, argument);
        if (ack !== undefined) link.answer(ack, encodeChunkReply(0));
      }
    } catch (error) {
      // Without an acknowledgement it may have been on its way when its transfer ended.
      if (ack !== undefined) this.#refuse(link, name, ack, error);
    }
  }

  /** @throws KerbError BadOffloadRequest */
  #claim(link: VehicleLink, argument: Buffer, ack: number, arrivedAt: number): void {
    const claim = decodeClaim(argument, arrivedAt);
    const { id, broker } = claim;
    const answer = link.begin(id, ack, arrivedAt, argument.length);
    this.#options.claim(link.client!, claim, (result, refusal) => {
      if (result !== undefined) this.#give(link, id, result, answer, broker);
      else if (refusal !== undefined) answer((heldMs) => encodeRefusal(id, shownRefusal(refusal), heldMs));
    });
  }

  #other(link: VehicleLink, name: string, argument: Buffer, ack: number): void {
    const client = link.client!;
    switch (name) {
      case 'cancel':
        link.answer(ack, encodeCancelled(this.#cancel(link, decodeCancel(argument))));
        return;
      case 'announce':
        link.answer(ack, this.#options.announcements());
        return;
      case 'describe':
        this.#describe(link, decodeDescribe(argument), ack);
        return;
      case 'state':
        this.#state(link, argument, ack);
        return;
      case 'push':
        link.push ??= this.#options.pushes(client);
        void link.push.take(argument).then((bytes) => link.answer(ack, bytes));
        return;
      default:
        throw notSupported(name, RESERVED.includes(name) ? 'this broker does not do' : 'V2E has no event');
    }
  }

  #cancel(link: VehicleLink, id: string): boolean {
    const wasMoving = this.transfers.cancel(link, id);
    return this.#options.cancel(link.client!, id) || wasMoving;
  }

  #describe(link: VehicleLink, query: TaskQuery, ack: number): void {
    if (link.describing >= MAX_DESCRIBING) throw overQuota('descriptions');
    link.describing++;
    this.#options
      .describe(link.client!, query)
      .then(
        (description) => void link.answer(ack, encodeDescription(description)),
        (error: unknown) => this.#refuse(link, 'describe', ack, error),
      )
      .finally(() => link.describing--);
  }

  #state(link: VehicleLink, argument: Buffer, ack: number): void {
    const request = decodeState(argument);
    if (link.stateRequests >= MAX_STATE_REQUESTS) throw overQuota('state_requests');
    link.stateRequests++;
    const sender = link.sender!;
    const bytes = argument.length;
    sender.hold(bytes);
    void this.#options.state(link.client!, request).then((answer) => {
      link.stateRequests--;
      sender.release(bytes);
      if (answer.refusal === undefined) link.answer(ack, encodeEntry(answer.entry));
      else link.answer(ack, encodeConflict(shownRefusal(answer.refusal), answer.current ?? 0));
    });
  }

  #refuse(link: VehicleLink, name: string, ack: number, error: unknown): void {
    const problem = isKerbError(error) ? error : badRequest(messageOf(error));
    link.answer(ack, refuseEvent(name, { ...shownRefusal(refusalOf(problem)), ...quotaOf(problem) }));
    this.#options.onRefused(`vehicle ${link.client!.id}`, problem);
  }
}

/** Which limit keeps an input of so many bytes from being announced; empty: none. */
function overBytes(link: VehicleLink, bytes: number): string {
  const quota = link.sender!.hindrance(bytes, performance.now());
  return quota === 'bytes_in_flight' ? quota : '';
}

function quotaOf({ context }: KerbError): { quota?: string } {
  return typeof context.quota === 'string' ? { quota: context.quota } : {};
}

function overQuota(quota: string, id = ''): KerbError {
  const message = `this vehicle or its tenant sends more than it may (${quota}); send less at a time`;
  return new KerbError(ErrorCode.QuotaSpent, message, { quota, id, retryAfterMs: RETRY_MS });
}

function notSupported(name: string, why: string): KerbError {
  return new KerbError(ErrorCode.NotSupported, `${why} ${quoted(name, 32)}`);
}

function badRequest(message: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, message);
}
