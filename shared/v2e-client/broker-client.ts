import { ErrorCode, errorName, KerbError, messageOf } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { type RefusalFields, refusalFrom } from '../base/refusal.ts';
import type { Identity } from '../identity/identity.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import type { RoutedOffload } from '../protocol/offload-request.ts';
import { bytesOf } from '../protocol/v2e-socket.ts';
import { PUSH_CHUNK, type PushOutcome } from '../task-package/push-codec.ts';
import type { PackageFile } from '../task-package/reader.ts';
import type { AskedEvent, TaskOffer } from './announcement.ts';
import { BrokerLink } from './broker-link.ts';
import type { BrokerResult, CallerTerms } from './offload-result.ts';

const { AnnounceRequest, AnnounceReply, PushRequest, PushReply, PushState, DescribeRequest, DescribeReply } =
  kerbside.v2e;

const CONNECT_TIMEOUT_MS = 5000;
/** The broker verifies and stores a whole package before it acknowledges the last piece. */
const PUSH_TIMEOUT_MS = 30_000;
const DESCRIBE_TIMEOUT_MS = 5000;
/** Pieces under way: enough to fill a long way, little enough for a slow one to let the keep-alive through. */
const WINDOW = 4;

export interface BrokerClientOptions {
  /** "https://host:port" */
  readonly url: string;
  readonly identity: Identity;
  /** As in its certificate; undefined: any broker of the authority. */
  readonly brokerId: string | undefined;
  readonly signal?: AbortSignal;
}

type Step = Parameters<typeof PushRequest.encode>[0];

/** A task as a broker describes it; nothing of it is checked. */
export interface TaskDescription {
  readonly digest: string;
  readonly files: readonly { readonly path: string; readonly content: Uint8Array }[];
}

/** An announcement that a broker has heard of another one, or its own. */
export interface HeardAnnouncement {
  readonly datagram: Uint8Array;
  /** DER. */
  readonly certificate: Uint8Array;
  readonly ageMs: number;
  /** The address that it came from; empty: from the broker that was asked. */
  readonly host: string;
}

/** The newest task of this name that fits. */
export interface TaskQuery {
  /** The one that is meant; else name and range count. */
  readonly taskDigest?: string;
  readonly name: string;
  /** "^1.2"; empty: any version. */
  readonly range: string;
}

/** One connection to a broker, for a command: what is lost stays lost. */
export class BrokerClient {
  readonly #options: BrokerClientOptions;
  readonly #lost = new AbortController();
  readonly #link: BrokerLink;
  /** Called when the link has come up or has failed to. */
  #onChange: () => void = () => {};

  constructor(options: BrokerClientOptions) {
    this.#options = options;
    const { url, brokerId: id } = options;
    this.#link = new BrokerLink({
      target: { id, url },
      identityTrouble: () => '',
      reconnect: false,
      onChange: () => this.#onChange(),
      log: silentLog(),
    });
  }

  /** Its id; its URL before it is known. */
  get broker(): string {
    return this.#link.broker;
  }

  get connected(): boolean {
    return this.#link.connected;
  }

  /** Of the protocol, as the broker speaks it with us. */
  get version(): number {
    return this.#link.version;
  }

  get features(): readonly string[] {
    return this.#link.features;
  }

  get offers(): readonly TaskOffer[] {
    return this.#link.offers;
  }

  /** Bytes of input of this task that the broker takes. */
  maxInputOf(taskDigest: string): number {
    return this.#link.maxInputOf(taskDigest);
  }

  /** @throws KerbError NoBroker; Cancelled */
  async connect(): Promise<void> {
    const { url, identity } = this.#options;
    await this.#unlessLost(
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(noBroker(url, 'it does not announce itself')), CONNECT_TIMEOUT_MS);
        this.#onChange = () => {
          clearTimeout(timer);
          if (!this.#link.connected) return reject(noBroker(url, this.#link.trouble));
          this.#onChange = () => this.#noteLoss();
          resolve();
        };
        this.#link.start(identity);
      }),
    );
  }

  /** As `BrokerLink.send`. */
  offload(request: RoutedOffload, terms: CallerTerms): Promise<BrokerResult> {
    return this.#link.send(request, terms);
  }

  cancel(id: string): void {
    this.#link.cancel(id);
  }

  /** @throws KerbError with the code of the broker's refusal; BrokerLost; BadProtocolMessage; Cancelled */
  async describe(query: TaskQuery): Promise<TaskDescription> {
    const { taskDigest, name, range } = query;
    const bytes = DescribeRequest.encode(taskDigest === undefined ? { name, range } : { taskDigest }).finish();
    const payload = await this.#ask('describe', bytes, DESCRIBE_TIMEOUT_MS, 'does it know how to describe a task?');
    const { task } = this.#answerOf(payload, (given) => DescribeReply.decode(given));
    const files = (task?.files ?? []).map(({ path, content }) => ({
      path: path ?? '',
      content: content ?? new Uint8Array(0),
    }));
    return { digest: task?.digest ?? '', files };
  }

  /**
   * The brokers that this one knows, itself first (`host` empty), as they have announced themselves. Nothing of it is checked.
   * @throws KerbError with the code of the broker's refusal; BrokerLost; BadProtocolMessage; Cancelled
   */
  async announcements(): Promise<HeardAnnouncement[]> {
    const bytes = AnnounceRequest.encode({}).finish();
    const payload = await this.#ask('announce', bytes, DESCRIBE_TIMEOUT_MS, 'does it know announcements?');
    const { announcements } = this.#answerOf(payload, (given) => AnnounceReply.decode(given));
    return (announcements?.heard ?? []).map((one) => ({
      datagram: one.datagram ?? new Uint8Array(0),
      certificate: one.certificate ?? new Uint8Array(0),
      ageMs: one.ageMs ?? 0,
      host: one.host ?? '',
    }));
  }

  /**
   * Sends a package, and resolves when it is stored there and served, or was there already.
   * @param onSent told after each acknowledged piece how many bytes of how many have arrived
   * @throws KerbError with the code of the broker's refusal; BrokerLost: nothing of it is kept there; Cancelled
   */
  async push(
    digest: string,
    files: readonly PackageFile[],
    onSent: (bytes: number, of: number) => void = () => {},
  ): Promise<PushOutcome> {
    const offers = files.map(({ path, bytes }) => ({ path, size: bytes.length }));
    const total = offers.reduce((sum, { size }) => sum + size, 0);
    let outcome = await this.#push({ open: { digest, files: offers } });
    let sent = 0;
    const underWay: Promise<PushOutcome>[] = [];
    const acknowledged = async () => {
      outcome = await underWay.shift()!;
      onSent(sent, total);
    };
    if (outcome !== 'RECEIVING') return outcome;
    try {
      for (const piece of pieces(files)) {
        if (underWay.length === WINDOW) await acknowledged();
        sent += piece.length;
        underWay.push(this.#push({ data: piece }));
      }
      while (underWay.length > 0) await acknowledged();
    } finally {
      // Of what follows a refusal nobody has to hear again.
      for (const one of underWay) one.catch(() => {});
    }
    return outcome;
  }

  /** @throws KerbError with the code of the broker's refusal; BrokerLost; Cancelled */
  async remove(digest: string): Promise<void> {
    await this.#push({ remove: digest });
  }

  close(): void {
    this.#onChange = () => {};
    this.#link.stop('the connection was closed');
  }

  async #push(step: Step): Promise<PushOutcome> {
    const bytes = PushRequest.encode(step).finish();
    const payload = await this.#ask('push', bytes, PUSH_TIMEOUT_MS, 'does it know pushes?');
    const { state } = this.#answerOf(payload, (given) => PushReply.decode(given));
    return PushState[state ?? 0] as PushOutcome;
  }

  #ask(event: AskedEvent, bytes: Uint8Array, limitMs: number, ifSilent: string): Promise<unknown> {
    return this.#unlessLost(this.#link.ask(event, bytes, limitMs, ifSilent));
  }

  /** The answer of the broker, when it is no refusal. */
  #answerOf<Reply extends { outcome?: string; refusal?: RefusalFields | null }>(
    payload: unknown,
    decode: (bytes: Uint8Array) => Reply,
  ): Reply {
    let reply: Reply;
    try {
      reply = decode(bytesOf(payload));
      if (reply.outcome === undefined) throw new Error('it holds neither what was asked for nor a refusal');
    } catch (cause) {
      const message = `the broker sent an answer that cannot be read: ${messageOf(cause)}`;
      throw new KerbError(ErrorCode.BadProtocolMessage, message, {}, { cause });
    }
    if (reply.refusal == null) return reply;
    const { code, message } = refusalFrom(reply.refusal);
    const known = errorName(code) === 'Unknown' ? ErrorCode.OffloadRefused : (code as ErrorCode);
    throw new KerbError(known, `broker ${this.broker}: ${message}`, { refusal: code });
  }

  #noteLoss(): void {
    if (this.#link.connected) return;
    const message = `the connection to ${this.#options.url} was lost (${this.#link.lostBecause})`;
    this.#lost.abort(new KerbError(ErrorCode.BrokerLost, message));
  }

  async #unlessLost<T>(step: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    const lost = this.#lost.signal;
    let undo = () => {};
    const ended = new Promise<never>((_, reject) => {
      const cancel = () => reject(new KerbError(ErrorCode.Cancelled, 'cancelled'));
      const lose = () => reject(lost.reason as KerbError);
      if (signal?.aborted) cancel();
      if (lost.aborted) lose();
      signal?.addEventListener('abort', cancel, { once: true });
      lost.addEventListener('abort', lose, { once: true });
      undo = () => {
        signal?.removeEventListener('abort', cancel);
        lost.removeEventListener('abort', lose);
      };
    });
    step.catch(() => {}); // a step that is waited for no longer fails unheard
    try {
      return await Promise.race([step, ended]);
    } finally {
      undo();
    }
  }
}

/** The files, one after the other, in pieces that fit into one message each. */
function* pieces(files: readonly PackageFile[]): Generator<Uint8Array> {
  for (const { bytes } of files) {
    for (let at = 0; at < bytes.length; at += PUSH_CHUNK) yield bytes.subarray(at, at + PUSH_CHUNK);
  }
}

function noBroker(url: string, why: string): KerbError {
  return new KerbError(ErrorCode.NoBroker, `no connection to a broker at ${url}: ${why}`, { url });
}
