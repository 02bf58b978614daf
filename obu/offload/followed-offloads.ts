import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import type { BrokerResult, CallerTerms, OffloadResult } from '../../shared/v2e-client/offload-result.ts';
import type { BrokerPlace } from './broker-place.ts';
import { type Choice, choosePlace, doubtfulPlace } from './choose/choose.ts';
import type { Place } from './choose/place.ts';
import { type Attempt, type Decision, Decisions } from './decisions.ts';

/** Refusals that are about the place and not about the offload: another place may take it. */
const PLACE_REFUSALS: ReadonlySet<unknown> = new Set<number>([
  ErrorCode.Unauthenticated,
  ErrorCode.UnknownPackage,
  ErrorCode.QueueFull,
  ErrorCode.BrokerStopping,
  ErrorCode.TooManyFromTenant,
  ErrorCode.IsolationUnavailable,
  ErrorCode.PackageQuarantined,
  ErrorCode.DeadlineUnreachable,
  ErrorCode.QuotaSpent,
  ErrorCode.NotSupported,
  ErrorCode.TaskForbidden,
  ErrorCode.TenderUnavailable,
  ErrorCode.TenderDied,
]);

/** Of a place that does not keep the state of the session that an offload goes with. */
const NOT_HOME = 'does not keep the session state';

/** Chooses a place for each offload, and another one after a refusal or a lost connection, each place once. */
export class FollowedOffloads {
  readonly decisions = new Decisions();
  readonly #vehicle: string;
  readonly #noBroker: () => KerbError;
  readonly #places: BrokerPlace[] = [];

  constructor(vehicle: string, noBroker: () => KerbError) {
    this.#vehicle = vehicle;
    this.#noBroker = noBroker;
  }

  add(place: BrokerPlace): void {
    this.#places.push(place);
  }

  /** Settles as `Offloader.offload`; when every place that is feasible has refused, with the last refusal. */
  async offload(request: RoutedOffload, terms: CallerTerms): Promise<OffloadResult> {
    const decision = decisionOf(request);
    this.decisions.add(decision);
    const tried = new Set<string>();
    let last: KerbError | undefined;
    for (;;) {
      const { place, attempt } = this.#next(request, tried, last);
      decision.attempts.push(attempt);
      if (place === undefined) {
        const error = last ?? this.#none(request, attempt.choice);
        attempt.outcome = error.message;
        throw error;
      }
      tried.add(place.id);
      try {
        const result = await this.#send(place, request, terms);
        attempt.outcome = 'answered';
        return result;
      } catch (error) {
        attempt.outcome = messageOf(error);
        if (!isKerbError(error) || !isAboutThePlace(error)) throw error;
        last = error;
      }
    }
  }

  /**
   * At one place and no other: it keeps the state of the session.
   * @throws KerbError NoBroker: the grant of the workload leaves the place out; else as `Offloader.offload`
   */
  async offloadAt(id: string, request: RoutedOffload, terms: CallerTerms): Promise<OffloadResult> {
    const decision = decisionOf(request);
    this.decisions.add(decision);
    const now = performance.now();
    const { taskDigest, input, deadline, kinds, maxCost } = request;
    const views = this.#places.map((one) => one.view(taskDigest, now, one.id === id ? troubleOf(one) : NOT_HOME));
    const leftMs = deadline.leftMs(now);
    const choice = choosePlace(views, {
      ...{ now, budgetMs: leftMs, inputBytes: input.length, outputBytes: 0 },
      ...{ kinds, maxCost, vehicle: this.#vehicle },
    });
    const place = this.#places.find((one) => one.id === id)!;
    const forbidden = forbiddenHome(place, request, choice);
    const { attempt } = made(choice, forbidden ? undefined : place, 'it keeps the session state', leftMs);
    decision.attempts.push(attempt);
    try {
      if (forbidden !== undefined) throw forbidden;
      const result = await this.#send(place, request, terms);
      attempt.outcome = 'answered';
      return result;
    } catch (error) {
      attempt.outcome = messageOf(error);
      throw error;
    }
  }

  async #send(place: BrokerPlace, request: RoutedOffload, terms: CallerTerms): Promise<BrokerResult> {
    const visit = place.begin(request.taskDigest, request.input.length, performance.now());
    try {
      const result = await place.link.send(request, terms);
      place.succeeded(visit, result);
      return result;
    } catch (error) {
      place.failed(error);
      throw error;
    }
  }

  #next(
    request: RoutedOffload,
    tried: ReadonlySet<string>,
    last: KerbError | undefined,
  ): { readonly place: BrokerPlace | undefined; readonly attempt: Attempt } {
    const now = performance.now();
    const { taskDigest, input, deadline, kinds, maxCost } = request;
    const { views, draining } = this.#views(taskDigest, now);
    const leftMs = deadline.leftMs(now);
    const tryPlace = this.#named(last === undefined ? draining : [last.context.tryBroker]);
    const asked = {
      ...{ now, budgetMs: leftMs, inputBytes: input.length, outputBytes: 0 },
      ...{ kinds, maxCost, tried, tryPlace, vehicle: this.#vehicle },
    };
    const choice = choosePlace(views, asked);
    const of = (id: string | undefined) => this.#places.find((one) => one.id === id);
    const chosen = of(choice.chosen?.place.id);
    if (chosen !== undefined) return made(choice, chosen, choice.reason, leftMs);
    const doubtful = of(doubtfulPlace(choice, asked)?.place.id);
    if (doubtful !== undefined) return made(choice, doubtful, 'too slow by old numbers; asked all the same', leftMs);
    const other = last === undefined ? this.#otherwise(choice, now) : undefined;
    return made(choice, other?.place, other?.reason ?? choice.reason, leftMs);
  }

  /** None is feasible, and none has refused: one may still find out, or has the better sentence of why not. */
  #otherwise({ rows }: Choice, now: number): { place: BrokerPlace; reason: string } | undefined {
    const slow = rows.filter(({ verdict }) => verdict === 'too slow').sort((a, b) => a.finishMs - b.finishMs);
    for (const {
      place: { id },
    } of slow) {
      const place = this.#places.find((one) => one.id === id)!;
      if (place.mayRelearn(now)) return { place, reason: 'too slow lately; asked whether it still is' };
    }
    if (slow.length > 0) return undefined;
    const asked = rows.find(({ verdict }) => verdict === 'input too large' || verdict === 'does not have the task');
    const place = this.#places.find((one) => one.id === asked?.place.id);
    return place && { place, reason: 'no place has the task for this input; the first connected one says so' };
  }

  /** A place that is being drained, or is slow to answer, counts only where there is no better one. */
  #views(taskDigest: string, now: number): { views: Place[]; draining: readonly unknown[] } {
    const offering = this.#places.filter((one) => one.link.connected && one.offers(taskDigest));
    const answering = offering.filter(({ link }) => link.answers);
    const staying = answering.filter(({ link }) => link.drain.notice === undefined);
    const views = this.#places.map((place) => place.view(taskDigest, now, trouble(place)));
    // Brokers that are being drained too are no better.
    const named = staying.length > 0 ? answering[0]?.link.drain.notice?.tryBrokers : undefined;
    return { views, draining: named ?? [] };

    function trouble({ link }: BrokerPlace): string | undefined {
      if (!link.connected) return 'not connected';
      if (answering.length > 0 && !link.answers) return 'no answer';
      return staying.length > 0 && link.drain.notice !== undefined ? 'being drained' : undefined;
    }
  }

  /** Only among the places that are configured: a broker's word makes no other broker trusted. */
  #named(names: readonly unknown[]): string | undefined {
    for (const name of names) {
      const place = this.#places.find(({ link }) => name !== undefined && (name === link.broker || name === link.url));
      if (place !== undefined) return place.id;
    }
    return undefined;
  }

  #none({ deadline, kinds, maxCost }: RoutedOffload, { missedMs, rows }: Choice): KerbError {
    if (Number.isFinite(missedMs)) {
      const message = `no place is expected to answer within the budget of ${deadline.budgetText}: the best would take ${Math.ceil(missedMs)} ms`;
      const context = { refusal: ErrorCode.DeadlineUnreachable, retryAfterMs: 0, bestMs: Math.ceil(missedMs) };
      return new KerbError(ErrorCode.OffloadRefused, message, context);
    }
    const barred = rows.filter(({ verdict }) => verdict === 'kind not allowed' || verdict === 'too expensive');
    if (barred.length === 0 || barred.length < rows.length) return this.#noBroker();
    const message = `no place is left by the grant of the workload (${limitsOf({ kinds, maxCost })})`;
    return new KerbError(ErrorCode.NoBroker, message, {});
  }
}

function limitsOf({ kinds, maxCost }: Pick<RoutedOffload, 'kinds' | 'maxCost'>): string {
  const limits = [kinds && `places: [${kinds.join(', ')}]`, maxCost !== undefined && `maxCost: ${maxCost}`];
  return limits.filter(Boolean).join(', ');
}

function troubleOf({ link }: BrokerPlace): string | undefined {
  return link.connected ? undefined : 'not connected';
}

/** The grant of the workload leaves out the one place where the state is; undefined: it does not. */
function forbiddenHome(
  { id, kind, cost }: BrokerPlace,
  request: RoutedOffload,
  { rows }: Choice,
): KerbError | undefined {
  const verdict = rows.find(({ place }) => place.id === id)?.verdict;
  if (verdict !== 'kind not allowed' && verdict !== 'too expensive') return undefined;
  const message = `${id}, which keeps the session state, is left out by the grant of the workload (${limitsOf(request)}): its kind is ${kind}, its cost ${cost}`;
  return new KerbError(ErrorCode.NoBroker, message, { place: id, kind, cost });
}

function made(choice: Choice, place: BrokerPlace | undefined, reason: string, leftMs: number) {
  const attempt: Attempt = { choice, place: place?.id, reason, leftMs, outcome: '' };
  return { place, attempt };
}

function decisionOf({ id, taskDigest, input, deadline }: RoutedOffload): Decision {
  const budgetMs = deadline.originalMs;
  return { id, taskDigest, budgetMs, inputBytes: input.length, atMs: Date.now(), attempts: [] };
}

function isAboutThePlace({ code, context }: KerbError): boolean {
  if (code === ErrorCode.OffloadRefused) return PLACE_REFUSALS.has(context.refusal);
  return code === ErrorCode.BrokerLost || code === ErrorCode.NoBroker;
}
