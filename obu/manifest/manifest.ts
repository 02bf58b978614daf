import { ErrorCode } from '../../shared/base/errors.ts';
import type { SignalScope } from '../../shared/vss/scopes.ts';
import { problemsError } from '../../shared/yaml/problem.ts';
import { type EachScalar, parseYaml } from '../../shared/yaml/yaml.ts';
import { toCanGrant } from './can-grant.ts';
import { checkManifest, type ObuOffers } from './check.ts';
import { manifestScalar, storedScalar, withoutExtensions } from './scalars.ts';
import { manifestSchema, type RawManifest, type RawService } from './schema/schema.ts';
import { explainUnknownKey, knownKeys } from './schema/unknown-keys.ts';
import { priorityWords } from './values.ts';
import type { Workload } from './workload.ts';

export type { ObuOffers } from './check.ts';

/** Longest manifest, in characters: the control socket, the state and a bundle carry it whole. */
export const MAX_MANIFEST = 1024 * 1024;

const DEFAULT_PIDS_LIMIT = 256;
const DEFAULT_STOP_GRACE_MS = 5000;

/**
 * Reads a manifest: Compose text with `x-obu` blocks. Workloads come sorted by name, every default filled in, so that
 * two manifests that mean the same give equal values.
 *
 * @param file Name for messages.
 * @param offers When given, grants that name a bus, camera, task or signal that is not there are problems as well.
 * (What a workload requires may be there on another OBU.)
 * @throws KerbError BadManifest; the message names file, line and key of the first problem and `context.problems` lists
 * all of them. Nothing of a manifest with a problem is used.
 */
export function parseManifest(text: string, file: string, offers?: ObuOffers): Workload[] {
  return parseWith(manifestScalar, text, file, offers);
}

/**
 * Reads a manifest that an OBU has taken before, perhaps in an older version that asked less of values: a car starts with
 * what it ran. @throws KerbError BadManifest when it does not fit the OBU any more
 */
export function parseStoredManifest(text: string, file: string, offers?: ObuOffers): Workload[] {
  return parseWith(storedScalar, text, file, offers);
}

function parseWith(eachScalar: EachScalar, text: string, file: string, offers: ObuOffers | undefined): Workload[] {
  if (text.length > MAX_MANIFEST) {
    const message = `has ${text.length} characters; ${MAX_MANIFEST} are the limit`;
    throw problemsError(ErrorCode.BadManifest, [{ file, line: 1, column: 1, key: '', message }]);
  }
  const parsed = parseYaml<RawManifest>(text, {
    file,
    schema: manifestSchema,
    code: ErrorCode.BadManifest,
    explainUnknownKey,
    knownKeys,
    eachScalar,
    prepare: withoutExtensions,
  });
  const problems = checkManifest(parsed, offers);
  if (problems.length > 0) throw problemsError(ErrorCode.BadManifest, problems);
  return Object.entries(parsed.value.services)
    .map(([name, service]) => toWorkload(name, service))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function toWorkload(name: string, service: RawService): Workload {
  const obu = service['x-obu'];
  const grants = obu?.grants;
  return {
    name,
    image: withTag(service.image),
    command: service.command,
    entrypoint: service.entrypoint,
    environment: service.environment ?? {},
    restart: service.restart ?? { policy: 'no' },
    memLimit: service.mem_limit,
    memReservation: service.mem_reservation,
    cpus: service.cpus,
    cpuset: service.cpuset,
    pidsLimit: service.pids_limit ?? DEFAULT_PIDS_LIMIT,
    ulimits: service.ulimits ?? {},
    shmSize: service.shm_size,
    tmpfs: service.tmpfs ?? {},
    user: service.user,
    workingDir: service.working_dir,
    init: service.init ?? false,
    hostname: service.hostname,
    labels: service.labels ?? {},
    healthcheck: service.healthcheck,
    dependsOn: service.depends_on ?? [],
    stopSignal: service.stop_signal,
    stopGraceMs: service.stop_grace_period ?? DEFAULT_STOP_GRACE_MS,
    priority: obu?.priority ?? priorityWords.normal!,
    preemption: obu?.preemption ?? 'stop',
    outsource: obu?.outsource ?? 'allowed',
    requires: [...new Set(obu?.requires)].sort(),
    update: {
      strategy: obu?.update?.strategy ?? 'kill-then-start',
      rollback: obu?.update?.rollback ?? 'on-unhealthy',
      when: obu?.update?.when ?? 'now',
    },
    dataLimit: obu?.data,
    grants: {
      signals: toScopes(grants?.signals ?? []),
      can: (grants?.can ?? []).map(toCanGrant),
      cameras: grants?.cameras ?? [],
      offload: grants?.offload,
    },
  };
}

/** Each text once, sorted. */
function toScopes(scopes: readonly SignalScope[]): SignalScope[] {
  const byText = new Map(scopes.map((scope) => [scope.text, scope]));
  return [...byText.values()].sort((a, b) => (a.text < b.text ? -1 : 1));
}

/** "a" and "a:latest" are one image. */
function withTag(image: string): string {
  const lastPart = image.slice(image.lastIndexOf('/') + 1);
  return lastPart.includes(':') || lastPart.includes('@') ? image : `${image}:latest`;
}
