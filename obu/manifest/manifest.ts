import { compileFilters } from '../../shared/can/filter.ts';
import { ErrorCode, messageOf } from '../../shared/errors.ts';
import { pathMatcher } from '../signals/expand-paths.ts';
import { nearest, type ParsedYaml, type Problem, parseYaml, problemsError } from '../yaml.ts';
import {
  explainUnknownKey,
  knownKeys,
  manifestSchema,
  namePattern,
  nameRule,
  type RawManifest,
  type RawService,
} from './schema.ts';
import { priorityWords } from './values.ts';
import type { Workload } from './workload.ts';

/** What a manifest may speak of on one OBU; a manifest that names anything else can't run there. */
export interface ObuOffers {
  readonly buses: readonly string[];
  readonly cameras: readonly string[];
  readonly tasks: readonly string[];
  /** Paths of the leaves that its mapping files feed. */
  readonly signals: readonly string[];
}

/**
 * Reads a manifest: Compose text with `x-obu` blocks. Workloads come sorted by name, every default filled in, so that
 * two manifests that mean the same give equal values.
 *
 * @param file Name for messages.
 * @param offers When given, grants that name a bus, camera, task or signal that is not there are problems as well.
 * @throws KerbError BadManifest; the message names file, line and key of the first problem and `context.problems` lists
 * all of them. Nothing of a manifest with a problem is used.
 */
export function parseManifest(text: string, file: string, offers?: ObuOffers): Workload[] {
  const source = { file, schema: manifestSchema, code: ErrorCode.BadManifest, explainUnknownKey, knownKeys };
  const parsed = parseYaml<RawManifest>(text, source);
  const problems: Problem[] = [];
  const workloads = Object.entries(parsed.value.services).map(([name, service]) => {
    problems.push(...checkService(parsed, name, service, offers));
    return toWorkload(name, service);
  });
  if (problems.length > 0) throw problemsError(ErrorCode.BadManifest, problems);
  return workloads.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function toWorkload(name: string, service: RawService): Workload {
  const grants = service['x-obu']?.grants;
  return {
    name,
    image: withTag(service.image),
    command: service.command,
    entrypoint: service.entrypoint,
    environment: service.environment ?? {},
    restart: service.restart ?? { policy: 'no' },
    memLimit: service.mem_limit,
    cpus: service.cpus,
    healthcheck: undefined,
    dependsOn: [],
    stopSignal: 'SIGTERM',
    stopGraceMs: 5000,
    priority: service['x-obu']?.priority ?? priorityWords.normal!,
    preemption: 'stop',
    outsource: 'allowed',
    requires: [],
    update: { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' },
    grants: {
      signals: [...new Set(grants?.signals)].sort(),
      can: (grants?.can ?? []).map(({ bus, read }) => ({ bus, read, write: [], as: 'socket', when: undefined })),
      cameras: grants?.cameras ?? [],
      offload: grants?.offload,
    },
  };
}

/** "a" and "a:latest" are one image. */
function withTag(image: string): string {
  const lastPart = image.slice(image.lastIndexOf('/') + 1);
  return lastPart.includes(':') || lastPart.includes('@') ? image : `${image}:latest`;
}

function checkService(
  parsed: ParsedYaml<RawManifest>,
  name: string,
  service: RawService,
  offers: ObuOffers | undefined,
): Problem[] {
  const problems: Problem[] = [];
  const say = (path: readonly PropertyKey[], message: string) =>
    problems.push(parsed.problem(['services', name, ...path], message));
  if (!namePattern.test(name)) say([], `${nameRule}`);

  const grants = service['x-obu']?.grants;
  const grantsPath = ['x-obu', 'grants'] as const;
  const once = (names: readonly string[], path: readonly PropertyKey[], what: string, key?: string) =>
    names.forEach((one, i) => {
      if (names.indexOf(one) < i) say([...path, i, ...(key ? [key] : [])], `${what} "${one}" is granted twice`);
    });
  const exists = (one: string, known: readonly string[] | undefined, path: readonly PropertyKey[], what: string) => {
    if (known === undefined || known.includes(one)) return;
    const has = known.length === 0 ? `it has no ${what} at all` : `it has ${known.join(', ')}`;
    say(path, `this OBU has no ${what} "${one}"; ${has}`);
  };

  grants?.signals?.forEach((scope, i) => {
    const fault = offers && signalFault(scope.slice('read:'.length), offers.signals);
    if (fault !== undefined) say([...grantsPath, 'signals', i], fault);
  });
  const can = grants?.can ?? [];
  once(
    can.map((grant) => grant.bus),
    [...grantsPath, 'can'],
    'bus',
    'bus',
  );
  can.forEach((grant, i) => {
    exists(grant.bus, offers?.buses, [...grantsPath, 'can', i, 'bus'], 'bus');
    grant.read.forEach((filter, j) => {
      try {
        compileFilters([filter]);
      } catch (error) {
        say([...grantsPath, 'can', i, 'read', j], messageOf(error));
      }
    });
  });
  const cameras = grants?.cameras ?? [];
  once(
    cameras.map((grant) => grant.name),
    [...grantsPath, 'cameras'],
    'camera',
    'name',
  );
  cameras.forEach((grant, i) => {
    exists(grant.name, offers?.cameras, [...grantsPath, 'cameras', i, 'name'], 'camera');
  });
  const tasks = grants?.offload?.tasks ?? [];
  once(tasks, [...grantsPath, 'offload', 'tasks'], 'task');
  tasks.forEach((task, i) => {
    exists(task, offers?.tasks, [...grantsPath, 'offload', 'tasks', i], 'task');
  });
  return problems;
}

/** What is wrong with a path in a grant: none of the leaves is meant by it. */
function signalFault(path: string, leaves: readonly string[]): string | undefined {
  if (leaves.some(pathMatcher(path))) return undefined;
  const fault = `this OBU has no signal "${path}"`;
  if (leaves.length === 0) return `${fault}; it has no signal at all: its configuration names no mapping file`;
  const known = new Set<string>();
  for (const leaf of leaves) {
    const levels = leaf.split('.');
    for (let depth = 1; depth <= levels.length; depth++) known.add(levels.slice(0, depth).join('.'));
  }
  const meant = nearest(path, [...known]);
  if (meant !== undefined) return `${fault}; did you mean "${meant}"?`;
  let branch = path;
  while (branch.includes('.') && !known.has(branch)) branch = branch.slice(0, branch.lastIndexOf('.'));
  return known.has(branch) ? `${fault}; the nearest that it has is the branch "${branch}"` : fault;
}
