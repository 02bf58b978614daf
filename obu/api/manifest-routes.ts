import { type ControlRoute, jsonReply } from '../../shared/api/control-routes.ts';
import type { AppliedReply, DryRunReply, ManifestReply } from '../../shared/api/manifest.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { decodeUtf8, utf8Fault } from '../../shared/text/utf8.ts';
import type { Engine } from '../engine/docker-client.ts';
import { checkArchitectures } from '../images/architecture.ts';
import { isAction, type Plan, type Step } from '../planner/state.ts';
import type { DesiredState, ManifestFile } from '../state/desired-state.ts';
import type { Generation } from '../state/state-store.ts';
import type { Reconciler } from '../workloads/reconciler.ts';

/** @throws KerbError ApiUnavailable while the OBU is starting */
export type ManifestParts = () => {
  readonly desired: DesiredState;
  readonly reconciler: Pick<Reconciler, 'planNow'>;
  readonly engine: Engine;
};

/**
 * `POST /v1/manifest?file=NAME` applies the manifest in its body, with `dryRun=1` it only says what would be done (`loads=IMAGE,…`:
 * once these images are loaded, too); `GET /v1/manifest?generation=N` is the one that is wanted, or that generation; `POST /v1/rollback?workload=NAME` goes back.
 */
export function manifestRoutes(parts: ManifestParts): Readonly<Record<string, ControlRoute>> {
  return {
    'GET /v1/manifest': ({ query }) => {
      const { desired } = parts();
      const asked = query.get('generation');
      if (asked !== null && !/^[1-9]\d{0,14}$/.test(asked))
        throw badRequest(`"${asked}" is not a valid generation: it must be a whole number, 1 or more`);
      const { text, ...wanted } = desired.manifest(asked === null ? undefined : Number(asked));
      const generations = desired.history().map(summaryOf);
      const reply: ManifestReply = { ...summaryOf({ ...wanted, text }), text, generations };
      return jsonReply(reply);
    },
    'POST /v1/manifest': async ({ query, body }) => {
      const { desired, reconciler, engine } = parts();
      const manifest = manifestOf(query.get('file') ?? 'manifest', body);
      const { wanted, changes } = desired.compare(manifest);
      const workloads = wanted.map(({ workload }) => workload);
      const loads = new Set((query.get('loads') ?? '').split(','));
      await checkArchitectures(engine, workloads, loads);
      if (query.get('dryRun') !== '1') return jsonReply(desired.apply(manifest) satisfies AppliedReply);
      const { steps, states } = await reconciler.planNow(wanted);
      const imageOf = (name: string) => workloads.find((one) => one.name === name)?.image;
      const waiting = waitingOf(states, imageOf);
      const reply: DryRunReply = { changes, steps: steps.filter(isAction).map(describe), waiting };
      return jsonReply(reply);
    },
    'POST /v1/rollback': ({ query }) =>
      jsonReply(parts().desired.rollback(query.get('workload') ?? undefined) satisfies AppliedReply),
  };
}

function manifestOf(file: string, body: Buffer): ManifestFile {
  if (body.length === 0) throw badRequest(`${file} is empty; a manifest must be a map with the key \`services\``);
  const decoded = decodeUtf8(body);
  if ('text' in decoded) return { file, text: decoded.text };
  throw badRequest(utf8Fault(file, decoded.line));
}

function summaryOf({ generation, file, appliedAtMs, good }: Generation) {
  return { generation, file, appliedAt: new Date(appliedAtMs).toISOString(), good };
}

function describe(step: Step): DryRunReply['steps'][number] {
  return { step: step.step, workload: workloadOf(step), why: step.why };
}

/** A workload that a step starts is `Pending(Starting)`, and the step says so. */
function waitingOf(states: Plan['states'], imageOf: (workload: string) => string | undefined): DryRunReply['waiting'] {
  return [...states]
    .filter(([, { state, detail }]) => state === 'Failed' || (state === 'Pending' && detail !== 'Starting'))
    .map(([workload, state]) => {
      const image = imageOf(workload);
      return { workload, ...(image !== undefined && { image }), ...state };
    });
}

function workloadOf(step: Step): string {
  if ('version' in step) return step.version.workload.name;
  return 'container' in step ? step.container.workload : step.workload;
}

function badRequest(message: string): KerbError {
  return new KerbError(ErrorCode.BadControlRequest, message);
}
