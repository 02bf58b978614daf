import { ErrorCode } from '../../shared/base/errors.ts';
import { isTenant } from '../../shared/identity/identity.ts';
import { readNamedFile } from '../../shared/yaml/named-file.ts';
import { type Problem, problemsError } from '../../shared/yaml/problem.ts';
import { type ParsedYaml, parseYaml } from '../../shared/yaml/yaml.ts';
import { DEFAULT_CLASS_SHARES } from './built-in.ts';
import type { ClassShares, Policy, TenantPolicy } from './policy.ts';
import { policyKeysAt, policySchema, type RawPolicy, type RawTenant } from './policy-schema.ts';

/** All least shares together, in percent: something has to be left for who comes first. */
const MAX_SHARES = 90;

/** @throws KerbError BadPolicy, also when the file cannot be read */
export async function readPolicy(file: string, builtIn: TenantPolicy): Promise<Policy> {
  return parsePolicy(await readNamedFile(file, ErrorCode.BadPolicy), file, builtIn);
}

/**
 * @param file Its name, for messages.
 * @param builtIn The limits of a tenant about which the file says nothing.
 * @throws KerbError BadPolicy that names file, line and key; `context.problems` lists all problems
 */
export function parsePolicy(text: string, file: string, builtIn: TenantPolicy): Policy {
  const parsed = parseYaml(text, {
    file,
    schema: policySchema,
    code: ErrorCode.BadPolicy,
    knownKeys: policyKeysAt,
    explainUnknownKey,
  });
  const problems = checkPolicy(parsed);
  if (problems.length > 0) throw problemsError(ErrorCode.BadPolicy, problems);
  const raw = parsed.value;
  const others = withTenant(builtIn, raw.default ?? {});
  return {
    tenants: new Map(Object.entries(raw.tenants ?? {}).map(([name, one]) => [name, withTenant(others, one)])),
    others,
    refuseOthers: raw.others === 'refuse',
    classes: classShares(raw.classes),
    signers: raw.signers?.map(({ key, tenants, tasks }) => ({ key, tenants: tenants ?? ['*'], tasks: tasks ?? ['*'] })),
    revoked: { keys: raw.revoked?.keys ?? [], digests: raw.revoked?.digests ?? [] },
    versions: raw.versions ?? 'any',
    neighbours: raw.neighbours ?? [],
    operators: raw.operators ?? [],
  };
}

/** The limits that the file gives, and the rest as `base` has it. A part that is given bounds the parts of it that are not. */
function withTenant(base: TenantPolicy, raw: RawTenant): TenantPolicy {
  const offloads = raw.offloads ?? Math.max(base.offloads, raw.running ?? 0);
  const connections = raw.connections ?? Math.max(base.connections, raw.connectionsPerVehicle ?? 0);
  const perMinuteMs = raw.cpu?.perMinute ?? base.cpu.perMinuteMs;
  return {
    weight: raw.weight ?? base.weight,
    highestClass: raw.highestClass ?? base.highestClass,
    offloads,
    running: raw.running ?? Math.min(base.running, offloads),
    largestBudgetMs: raw.largestBudget ?? base.largestBudgetMs,
    longestRunMs: raw.largestBudget ?? base.longestRunMs,
    cpu: {
      perMinuteMs,
      burstMs: perMinuteMs === Infinity ? Infinity : (raw.cpu?.burst ?? (raw.cpu ? perMinuteMs : base.cpu.burstMs)),
    },
    memory: raw.memory ?? base.memory,
    bytes: raw.bytes ?? base.bytes,
    results: {
      count: raw.results?.count ?? base.results.count,
      bytes: raw.results?.bytes ?? base.results.bytes,
      keepMs: raw.results?.keep ?? base.results.keepMs,
    },
    state: {
      keys: raw.state?.keys ?? base.state.keys,
      bytes: raw.state?.bytes ?? base.state.bytes,
      ttlMs: raw.state?.ttl ?? base.state.ttlMs,
      shared:
        raw.state?.shared?.map(({ keys, tasks, tenants }) => ({
          keys,
          tasks: tasks ?? ['*'],
          tenants: tenants ?? [],
        })) ?? base.state.shared,
    },
    packages: {
      push: raw.packages?.push ?? base.packages.push,
      count: raw.packages?.count ?? base.packages.count,
      bytes: raw.packages?.bytes ?? base.packages.bytes,
    },
    connections,
    connectionsPerVehicle: raw.connectionsPerVehicle ?? Math.min(base.connectionsPerVehicle, connections),
    requestsPerSecond: raw.requestsPerSecond ?? base.requestsPerSecond,
    unread: raw.unread ?? base.unread,
    isolation: raw.isolation ?? base.isolation,
    shares: { see: raw.shares?.see ?? base.shares.see, run: raw.shares?.run ?? base.shares.run },
  };
}

function classShares(raw: RawPolicy['classes']): ClassShares {
  const of = (percent: number | undefined, otherwise: number) => (percent === undefined ? otherwise : percent / 100);
  const { high, normal, idle } = DEFAULT_CLASS_SHARES;
  return { safety: 0, high: of(raw?.high, high), normal: of(raw?.normal, normal), idle: of(raw?.idle, idle) };
}

/** Problems that the schema cannot find, because they are between two keys. */
function checkPolicy({ value, problem }: ParsedYaml<RawPolicy>): Problem[] {
  const problems: Problem[] = [];
  const say = (path: readonly PropertyKey[], message: string) => problems.push(problem(path, message));
  const checkTenant = (at: readonly PropertyKey[], raw: RawTenant) => {
    for (const [part, whole] of PARTS) {
      const [less, more] = [raw[part], raw[whole]];
      if (less === undefined || more === undefined || less <= more) continue;
      say([...at, part], `must be at most ${whole}, which is ${more}`);
    }
  };
  checkTenant(['default'], value.default ?? {});
  for (const [name, raw] of Object.entries(value.tenants ?? {})) {
    if (!isTenant(name)) {
      say(['tenants', name], 'is not a valid tenant: it must be the organisation in the certificates of its vehicles');
    }
    checkTenant(['tenants', name], raw);
  }
  const shares = classShares(value.classes);
  const percent = Math.round((shares.high + shares.normal + shares.idle) * 100);
  if (percent > MAX_SHARES) {
    say(['classes'], `all together must be at most ${MAX_SHARES} percent, and are ${percent}`);
  }
  value.neighbours?.forEach(({ broker, tenant }, i, all) => {
    if (all.findIndex((one) => one.broker === broker && one.tenant === tenant) === i) return;
    say(['neighbours', i], `broker ${broker} is listed twice for tenant ${tenant}; write its rights in one entry`);
  });
  value.operators?.forEach((operator, i, all) => {
    if (all.indexOf(operator) < i) say(['operators', i], `${operator} is listed twice`);
  });
  return problems;
}

const PARTS = [
  ['running', 'offloads'],
  ['connectionsPerVehicle', 'connections'],
] as const;

function explainUnknownKey(path: readonly PropertyKey[], name: string): string | undefined {
  if (path[0] === 'classes' && name === 'safety') return 'comes before all others and needs no least share; remove it';
  if (path.length === 0 && policyKeysAt(['default']).includes(name)) {
    return 'is said of tenants: write it under `default`, or under the name of a tenant in `tenants`';
  }
  return undefined;
}
