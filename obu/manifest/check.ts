import { pathMatcher } from '../../shared/vss/expand-paths.ts';
import type { Problem } from '../../shared/yaml/problem.ts';
import { nearest, type ParsedYaml } from '../../shared/yaml/yaml.ts';
import { interfaceGrantProblem } from '../grants/interface-rules.ts';
import { toCanGrant } from './can-grant.ts';
import { checkDependencies, type Say } from './dependencies.ts';
import type { RawManifest, RawService } from './schema/schema.ts';
import { namePattern, nameRule } from './values.ts';

/** The names that a manifest may use on one OBU; a manifest that names anything else can't run there. */
export interface ObuOffers {
  readonly buses: readonly string[];
  readonly cameras: readonly string[];
  readonly tasks: readonly string[];
  /** Paths of the leaves that have a source: its mapping files, or the OBU itself. */
  readonly signals: readonly string[];
}

/** Checks beyond the schema: whether parts of a manifest fit together, and fit the OBU. */
export function checkManifest(parsed: ParsedYaml<RawManifest>, offers: ObuOffers | undefined): Problem[] {
  const problems: Problem[] = [];
  const { services } = parsed.value;
  const say: Say = (path, message) => problems.push(parsed.problem(['services', ...path], message));
  const signals = offers && [...offers.signals, ...providedLeaves(services)];
  for (const [name, service] of Object.entries(services)) {
    if (!namePattern.test(name)) say([name], nameRule);
    const sayHere: Say = (path, message) => say([name, ...path], message);
    if (service.mem_reservation !== undefined && service.mem_reservation > (service.mem_limit ?? Infinity)) {
      sayHere(['mem_reservation'], 'must not be above `mem_limit`');
    }
    checkGrants(service, sayHere);
    if (offers !== undefined && signals !== undefined) checkOffers(service, { ...offers, signals }, sayHere);
  }
  checkDependencies(services, say);
  return problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Leaves whose source is a workload: others may speak of them. */
function providedLeaves(services: RawManifest['services']): string[] {
  return Object.values(services)
    .flatMap((service) => service['x-obu']?.grants?.signals ?? [])
    .flatMap(({ deny, action, path }) => (!deny && action === 'provide' && !path.includes('*') ? [path] : []));
}

const grantsPath = ['x-obu', 'grants'] as const;

function checkGrants(service: RawService, say: Say): void {
  const grants = service['x-obu']?.grants;
  const once = (names: readonly string[], path: readonly PropertyKey[], what: string, key?: string) =>
    names.forEach((one, i) => {
      if (names.indexOf(one) < i) {
        say([...grantsPath, ...path, i, ...(key === undefined ? [] : [key])], `${what} "${one}" is granted twice`);
      }
    });
  const can = grants?.can ?? [];
  once(
    can.map((grant) => grant.bus),
    ['can'],
    'bus',
    'bus',
  );
  can.forEach((grant, i) => {
    const at = [...grantsPath, 'can', i];
    if (grant.read === undefined && grant.write === undefined) say(at, 'grants nothing; it needs `read` or `write`');
    if (grant.when !== undefined && grant.write === undefined) {
      say([...at, 'when'], 'holds back what is sent, and this grant has no `write`');
    }
    const problem = grant.as === 'interface' ? interfaceGrantProblem(toCanGrant(grant)) : undefined;
    if (problem !== undefined) say([...at, 'as'], problem);
    const frames = (grant.write ?? []).map(({ id, len }) => `${id.id}/${id.ext}/${len}`);
    frames.forEach((frame, j) => {
      if (frames.indexOf(frame) < j) say([...at, 'write', j, 'id'], 'this id with this length is granted twice');
    });
  });
  once(
    (grants?.cameras ?? []).map((grant) => grant.name),
    ['cameras'],
    'camera',
    'name',
  );
  once(grants?.offload?.tasks ?? [], ['offload', 'tasks'], 'task');
  once(grants?.offload?.state ?? [], ['offload', 'state'], 'key');
}

function checkOffers(service: RawService, offers: ObuOffers, say: Say): void {
  const grants = service['x-obu']?.grants;
  const exists = (one: string, known: readonly string[], path: readonly PropertyKey[], what: string) => {
    if (known.includes(one)) return;
    const has = known.length === 0 ? `it has no ${what} at all` : `it has ${known.join(', ')}`;
    say(path, `this OBU has no ${what} "${one}"; ${has}`);
  };
  const sayFault = (path: string, at: readonly PropertyKey[]) => {
    const fault = signalFault(path, offers.signals);
    if (fault !== undefined) say(at, fault);
  };
  grants?.signals?.forEach(({ deny, action, path }, i) => {
    // What it provides need have no other source.
    if (deny || action !== 'provide') sayFault(path, [...grantsPath, 'signals', i]);
  });
  grants?.can?.forEach((grant, i) => {
    exists(grant.bus, offers.buses, [...grantsPath, 'can', i, 'bus'], 'bus');
    if (grant.when === undefined) return;
    for (const path of grant.when.paths) {
      if (offers.signals.includes(path)) continue;
      const at = [...grantsPath, 'can', i, 'when'];
      if (offers.signals.some(pathMatcher(path))) say(at, `"${path}" is a branch; a condition compares one signal`);
      else sayFault(path, at);
    }
  });
  grants?.cameras?.forEach((grant, i) => {
    exists(grant.name, offers.cameras, [...grantsPath, 'cameras', i, 'name'], 'camera');
  });
  grants?.offload?.tasks.forEach((task, i) => {
    exists(task, offers.tasks, [...grantsPath, 'offload', 'tasks', i], 'task');
  });
}

/** The problem of a path in a grant that matches no leaf. */
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
