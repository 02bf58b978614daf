import { z } from 'zod';
import { parseSize } from '../../shared/size.ts';
import { MIN_MEM_LIMIT, priorityWords, splitCommand } from './values.ts';
import type { RestartPolicy } from './workload.ts';

/** Names of workloads, buses, cameras and tasks: they become container names, directories and metric labels. */
export const namePattern = /^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$/;
export const nameRule = 'a name has 1 to 63 of a-z, 0-9, "_", "." and "-", and begins and ends with a letter or digit';

// The Docker Engine's reference grammar, without the parts that only a registry needs to know.
const imagePattern = /^[a-z0-9][a-z0-9._:/-]*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

const name = z.string('must be a name').regex(namePattern, nameRule);

/** Why a value was not taken. A class, so that no value of a person's file can look like one. */
class Refusal {
  readonly sentence: string;
  constructor(sentence: string) {
    this.sentence = sentence;
  }
}

const refuse = (sentence: string) => new Refusal(sentence);

/** A value that a function turns into another one or refuses with a sentence. */
function parsed<Out>(parse: (value: unknown) => Out | Refusal) {
  return z.unknown().transform((value, context): Out => {
    const result = parse(value);
    if (!(result instanceof Refusal)) return result;
    context.addIssue({ code: 'custom', message: result.sentence });
    return z.NEVER;
  });
}

const commandLine = parsed<readonly string[]>((value) => {
  const words = typeof value === 'string' ? splitCommand(value) : value;
  if (words === undefined) return refuse('a quote is not closed');
  if (!Array.isArray(words)) return refuse('must be a list of strings or one string');
  const plain = words.map((word) => (typeof word === 'number' || typeof word === 'boolean' ? String(word) : word));
  if (!plain.every((word) => typeof word === 'string')) return refuse('must be a list of strings or one string');
  if (plain.length === 0) return refuse('is empty; leave the key out to use what the image says');
  return plain;
});

const variablePattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

const environment = parsed<Readonly<Record<string, string>>>((value) => {
  let entries: [string, unknown][];
  if (Array.isArray(value)) {
    if (!value.every((item) => typeof item === 'string')) return refuse('must be a list of NAME=VALUE, or a map');
    entries = value.map((item: string) => {
      const equals = item.indexOf('=');
      return equals === -1 ? [item, null] : [item.slice(0, equals), item.slice(equals + 1)];
    });
  } else if (value !== null && typeof value === 'object') {
    entries = Object.entries(value);
  } else {
    return refuse('must be a list of NAME=VALUE, or a map');
  }
  const result = new Map<string, string>();
  for (const [key, item] of entries) {
    if (!variablePattern.test(key)) return refuse(`"${key}" is no name for an environment variable`);
    if (key.startsWith('KERBSIDE_')) return refuse(`${key}: names that begin with KERBSIDE_ belong to the OBU`);
    if (item === null) return refuse(`${key} has no value; the OBU does not pass on its own environment`);
    if (typeof item === 'object') return refuse(`${key} must be a string, a number or a boolean`);
    if (result.has(key)) return refuse(`${key} is set twice`);
    result.set(key, String(item));
  }
  return Object.fromEntries([...result].sort(([a], [b]) => (a < b ? -1 : 1)));
});

const restart = parsed<RestartPolicy>((value) => {
  // YAML 1.1 readers turn a bare `no` into false; ours doesn't, but people write the boolean too.
  if (value === 'no' || value === false) return { policy: 'no' };
  if (value === 'always' || value === 'unless-stopped') return { policy: value };
  const match = /^on-failure(?::([1-9]\d{0,5}))?$/.exec(String(value));
  if (!match) return refuse('must be one of no, always, unless-stopped, on-failure, on-failure:N');
  return { policy: 'on-failure', maxRetries: match[1] === undefined ? undefined : Number(match[1]) };
});

const memLimit = parsed<number>((value) => {
  const bytes = typeof value === 'string' || typeof value === 'number' ? parseSize(value) : undefined;
  if (bytes === undefined) return refuse('must be a size such as 256m, 1gb or a number of bytes');
  if (bytes < MIN_MEM_LIMIT) return refuse('must be at least 6m, the smallest limit that the Docker Engine takes');
  return bytes;
});

const cpus = parsed<number>((value) => {
  const count = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof count !== 'number' || !Number.isFinite(count) || count < 0.01 || count > 1024) {
    return refuse('must be a number of CPUs of at least 0.01, such as 0.5');
  }
  return count;
});

const priority = parsed<number>((value) => {
  const rank = typeof value === 'string' && Object.hasOwn(priorityWords, value) ? priorityWords[value] : value;
  if (typeof rank !== 'number' || !Number.isInteger(rank) || rank < 0 || rank > 1000) {
    return refuse(`must be a whole number of 0..1000 or one of ${Object.keys(priorityWords).join(', ')}`);
  }
  return rank;
});

const vssPath = /^(?:[A-Za-z][A-Za-z0-9_]*|\*)(?:\.(?:[A-Za-z0-9_]+|\*))*$/;

const signalScope = parsed<string>((value) => {
  if (typeof value !== 'string') return refuse('must be a scope such as "read:Vehicle.Speed"');
  const colon = value.indexOf(':');
  const action = value.slice(0, colon);
  const path = value.slice(colon + 1);
  if (action === 'actuate' || action === 'provide') {
    return refuse(`"${value}": \`${action}:\` scopes are not supported by this version; only \`read:\` is`);
  }
  if (action !== 'read' || !vssPath.test(path)) {
    return refuse(`"${value}" is no scope; write "read:" and a VSS path, such as "read:Vehicle.Speed"`);
  }
  return value;
});

const canGrant = z.strictObject({
  bus: name,
  read: z.array(z.string('must be a filter such as "100:700"'), 'must be a list of filters').min(1, 'is empty'),
  as: z
    .unknown()
    .optional()
    .superRefine((value, context) => {
      if (value === undefined || value === 'socket') return;
      const message =
        value === 'interface'
          ? '`interface` is not supported by this version; use `socket`, which works on every kernel'
          : 'must be `socket`';
      context.addIssue({ code: 'custom', message });
    }),
});

const cameraGrant = z.strictObject({
  name,
  maxFps: z.number('must be pictures per second, a number').gt(0, 'must be above 0').max(1000, 'must be at most 1000'),
});

const offloadGrant = z.strictObject({
  tasks: z.array(name, 'must be a list of task names').min(1, 'is empty'),
  maxBudgetMs: z
    .number('must be milliseconds, a number')
    .int('must be a whole number of milliseconds')
    .min(1, 'must be at least 1')
    .max(3_600_000, 'must be at most an hour'),
});

const grants = z.strictObject({
  signals: z.array(signalScope, 'must be a list of scopes').optional(),
  can: z.array(canGrant, 'must be a list').optional(),
  cameras: z.array(cameraGrant, 'must be a list').optional(),
  offload: offloadGrant.optional(),
});

const xObu = z.strictObject({ priority: priority.optional(), grants: grants.optional() }, 'must be a map');

const service = z.strictObject(
  {
    image: z.string('must name an image').regex(imagePattern, 'is no image name'),
    command: commandLine.optional(),
    entrypoint: commandLine.optional(),
    environment: environment.optional(),
    restart: restart.optional(),
    mem_limit: memLimit.optional(),
    cpus: cpus.optional(),
    'x-obu': xObu.optional(),
  },
  'must be a map with at least `image`',
);

export const manifestSchema = z.strictObject(
  {
    services: z
      .record(z.string(), service, 'must be a map of services')
      .refine((services) => Object.keys(services).length > 0, 'names no service'),
  },
  'must be a map with the key `services`',
);

export type RawManifest = z.infer<typeof manifestSchema>;
export type RawService = z.infer<typeof service>;

/** Keys by where they stand: to tell a typo from something that this version lacks. */
const shapes = {
  top: manifestSchema.shape,
  service: service.shape,
  xObu: xObu.shape,
  grants: grants.shape,
  can: canGrant.shape,
  camera: cameraGrant.shape,
  offload: offloadGrant.shape,
};

type Place = keyof typeof shapes;

function placeOf(path: readonly PropertyKey[]): Place {
  if (path.length === 0) return 'top';
  if (path.length === 2) return 'service';
  if (path.length === 3) return 'xObu';
  if (path.length === 4) return 'grants';
  return path[4] === 'can' ? 'can' : path[4] === 'cameras' ? 'camera' : 'offload';
}

// What DESIGN section 5 promises and this version lacks.
const later: Partial<Record<Place, readonly string[]>> = {
  service: ['healthcheck', 'depends_on'],
  xObu: ['preemption', 'outsource', 'requires', 'update'],
  can: ['write'],
};

// Compose's own keys that a workload of an OBU has no use for, or may not have.
const composeKeys: Partial<Record<Place, readonly string[]>> = {
  top: ['version', 'name', 'networks', 'volumes', 'configs', 'secrets', 'include', 'models'],
  service: (
    'annotations attach build blkio_config cap_add cap_drop cgroup cgroup_parent configs container_name cpu_count ' +
    'cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec deploy develop ' +
    'device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts env_file expose extends external_links ' +
    'extra_hosts gpus group_add hostname init ipc isolation label_file labels links logging mac_address ' +
    'mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid ' +
    'pids_limit platform ports post_start pre_stop privileged profiles provider pull_policy read_only runtime scale ' +
    'secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits ' +
    'use_api_socket user userns_mode uts volumes volumes_from working_dir'
  ).split(' '),
};

const composeAdvice: Readonly<Record<string, string>> = {
  ports: 'a workload has no network; it speaks through its gateway socket only',
  networks: 'a workload has no network; it speaks through its gateway socket only',
  network_mode: 'a workload has no network; it speaks through its gateway socket only',
  volumes: 'a workload writes to /data, which the OBU keeps for it',
  build: 'build the image first, with `kerb image build`, and name it in `image`',
  deploy: 'limits are `mem_limit` and `cpus`',
  privileged: 'what a workload may touch is listed under `x-obu.grants`',
  devices: 'what a workload may touch is listed under `x-obu.grants`',
};

/** Why a key that the schema doesn't have is refused, when it is one that somebody could rightly expect to work. */
export function explainUnknownKey(path: readonly PropertyKey[], key: string): string | undefined {
  const place = placeOf(path);
  if (later[place]?.includes(key)) return 'is not supported by this version of Kerbside; remove it';
  if (composeKeys[place]?.includes(key)) {
    const advice = composeAdvice[key];
    return `is a key of Compose that an OBU does not take${advice === undefined ? '; remove it' : `: ${advice}`}`;
  }
  return undefined;
}

export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  const place = placeOf(path);
  return [...Object.keys(shapes[place]), ...(later[place] ?? []), ...(composeKeys[place] ?? [])];
}
