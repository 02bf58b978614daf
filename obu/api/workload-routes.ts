import { type ControlRoutes, jsonReply, linesReply } from '../../shared/api/control-routes.ts';
import type { OffloadDecision } from '../../shared/api/offload-decision.ts';
import { isFollowed, wholeNumber } from '../../shared/api/query.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { quoted } from '../../shared/base/quoted.ts';
import { MAX_DECISIONS } from '../offload/decisions.ts';
import { readLogs } from '../resources/container-logs.ts';
import { readUsage } from '../resources/usage.ts';
import { explain, workloadNamed } from './explain.ts';
import { grantsOf } from './grants.ts';
import type { ApiParts, PartsOf } from './parts.ts';

/** The routes about single workloads, what they may and what they use; `shared/api/obu.ts` has what they answer. */
export function workloadRoutes(parts: PartsOf): ControlRoutes {
  return {
    'GET /v1/workloads/:name': async ({ params }) => jsonReply(await explain(params.name!, parts())),
    'GET /v1/workloads/:name/logs': ({ params, query, signal }) => {
      const { engine, reconciler, lines } = parts();
      const { name } = workloadNamed(params.name!, parts());
      const containers = () => reconciler.containers.filter((one) => one.workload === name);
      const [tail, follow] = [wholeNumber(query, 'tail', undefined), isFollowed(query)];
      const before = containers().length === 0 ? lines.recent(name).slice(-(tail ?? Number.POSITIVE_INFINITY)) : [];
      return linesReply(concat(tail === 0 ? [] : before, readLogs({ engine, containers, tail, follow, signal })));
    },
    'POST /v1/workloads/:name/freeze': ({ params }) => {
      parts().reconciler.freeze(params.name!);
      return jsonReply({});
    },
    'POST /v1/workloads/:name/thaw': ({ params }) => {
      parts().reconciler.thaw(params.name!);
      return jsonReply({});
    },
    'GET /v1/usage': async () => jsonReply(await usageOfAll(parts())),
    'GET /v1/offload-decision': ({ query }) => jsonReply(decisionOf(query.get('id') ?? 'last', parts())),
    'GET /v1/grants': () => jsonReply(parts().reconciler.desired.flatMap(({ workload }) => grantsOf(workload))),
  };
}

/** @throws KerbError UnknownOffload: it is not, or no longer, among the newest */
export function decisionOf(id: string, { offloader }: Pick<ApiParts, 'offloader'>): OffloadDecision {
  const found = offloader.decision?.(id);
  if (found !== undefined) return found;
  const what =
    id === 'last'
      ? 'no offload has been sent since the OBU started; try again after one'
      : `no offload ${quoted(id)} is among the newest ${MAX_DECISIONS}, which are kept; ask for "last" or the id of a newer one`;
  throw new KerbError(ErrorCode.UnknownOffload, what, { id });
}

/** The kept last lines of the previous container, and then the log of the present one. */
async function* concat<T>(before: Iterable<T>, after: AsyncIterable<T>): AsyncGenerator<T> {
  yield* before;
  yield* after;
}

/** Of every container of this OBU that runs. */
export function usageOfAll({ engine, reconciler }: Pick<ApiParts, 'engine' | 'reconciler'>) {
  const images = new Map(reconciler.desired.map(({ workload: { name, image } }) => [name, image]));
  return readUsage(engine, reconciler.containers, (workload) => images.get(workload) ?? '');
}
