import { z } from 'zod';
import { key, type Refusal, refuse, value } from './value.ts';
import {
  absolutePath,
  absolutePathFault,
  commandLine,
  count,
  duration,
  eachOf,
  MIN_MEM_LIMIT,
  pairs,
  signalName,
  size,
  sortedRecord,
} from './values.ts';
import type { Dependency, HealthCheck, RestartPolicy, Ulimit } from './workload.ts';

// The Docker Engine's reference grammar, without the parts that only a registry needs to know.
const imagePattern = /^[a-z0-9][a-z0-9._:/-]*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

const environment = pairs('(?!KERBSIDE_)[A-Za-z_][A-Za-z0-9_]*', 'NAME=VALUE', (name, item) => {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return `"${name}" is no name for an environment variable`;
  if (name.startsWith('KERBSIDE_')) return `${name}: names that begin with KERBSIDE_ belong to the OBU`;
  if (item === null) return `${name} has no value; the OBU does not pass on its own environment`;
  return undefined;
});

const labels = pairs('(?!kerbside\\.)[A-Za-z0-9][A-Za-z0-9._/-]*', 'NAME=VALUE', (name, item) => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(name)) return `"${name}" is no name for a label`;
  if (name.startsWith('kerbside.')) return `${name}: labels that begin with kerbside. belong to the OBU`;
  return item === null ? `${name} has no value` : undefined;
});

const restart = value<RestartPolicy>(
  {
    anyOf: [{ const: false }, { type: 'string', pattern: '^(no|always|unless-stopped|on-failure(:[1-9]\\d{0,5})?)$' }],
    default: 'no',
  },
  (raw) => {
    // YAML 1.1 readers turn a bare `no` into false; ours doesn't, but people write the boolean too.
    if (raw === 'no' || raw === false) return { policy: 'no' };
    if (raw === 'always' || raw === 'unless-stopped') return { policy: raw };
    const match = /^on-failure(?::([1-9]\d{0,5}))?$/.exec(String(raw));
    if (!match) return refuse('must be one of no, always, unless-stopped, on-failure, on-failure:N');
    return { policy: 'on-failure', maxRetries: match[1] === undefined ? undefined : Number(match[1]) };
  },
);

const cpus = value<number>(
  {
    anyOf: [
      { type: 'number', minimum: 0.01, maximum: 1024 },
      { type: 'string', pattern: '^\\d*\\.?\\d+$' },
    ],
  },
  (raw) => {
    const number = typeof raw === 'string' && raw.trim() !== '' ? Number(raw) : raw;
    if (typeof number !== 'number' || !Number.isFinite(number) || number < 0.01 || number > 1024) {
      return refuse('must be a number of CPUs of at least 0.01, such as 0.5');
    }
    return number;
  },
);

const cpuset = value<string>(
  {
    anyOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', pattern: '^\\d+(-\\d+)?(,\\d+(-\\d+)?)*$' },
    ],
  },
  (raw) => {
    const text = String(raw);
    return /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/.test(text) ? text : refuse('must be CPUs such as "0,2-3"');
  },
);

const user = value<string>(
  {
    anyOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', pattern: '^[A-Za-z0-9_][\\w.-]*(:[A-Za-z0-9_][\\w.-]*)?$' },
    ],
  },
  (raw) => {
    const text = typeof raw === 'number' && Number.isInteger(raw) ? String(raw) : raw;
    if (typeof text === 'string' && /^[A-Za-z0-9_][\w.-]*(:[A-Za-z0-9_][\w.-]*)?$/.test(text)) return text;
    return refuse('must be USER or USER:GROUP, names of the image or numbers');
  },
);

/** Folders that are something else in every container. */
const takenPaths = /^\/(?:$|(?:proc|sys|dev)(?:\/|$)|(?:data|run\/kerbside)$)/;
const DEFAULT_TMPFS_SIZE = 64 * 1024 * 1024;
const tmpfsLimit = size(4096, 'must be at least 4k');

const tmpfs = value<Readonly<Record<string, string>>>(
  {
    anyOf: [
      { type: 'string', pattern: '^/' },
      { type: 'array', items: { type: 'string', pattern: '^/' } },
    ],
  },
  (raw) => {
    const list = eachOf(typeof raw === 'string' ? [raw] : raw, 'paths', parseTmpfs);
    if (!Array.isArray(list)) return list;
    const twice = list.find(([path], i) => list.findIndex(([other]) => other === path) < i);
    return twice === undefined ? sortedRecord(list) : refuse(`${twice[0]} is there twice`);
  },
);

/** "PATH" or "PATH:size=16m,mode=1777" → path and the options that the kernel takes. */
function parseTmpfs(raw: unknown): readonly [string, string] | Refusal {
  if (typeof raw !== 'string') return refuse('must be a path, such as /var/cache or /var/cache:size=16m,mode=0700');
  const colon = raw.indexOf(':');
  const path = colon === -1 ? raw : raw.slice(0, colon);
  const fault = path === '/' ? undefined : absolutePathFault(path);
  if (fault !== undefined) return refuse(fault);
  if (takenPaths.test(path)) return refuse(`${path} is something else in a container; choose another folder`);
  const options = new Map<string, string>([
    ['size', String(DEFAULT_TMPFS_SIZE)],
    ['mode', '1777'],
  ]);
  for (const option of colon === -1 ? [] : raw.slice(colon + 1).split(',')) {
    const [name = '', text = ''] = option.split('=', 2);
    if (name === 'size') {
      const bytes = tmpfsLimit.safeParse(text);
      if (!bytes.success) return refuse(`size ${bytes.error.issues[0]!.message}`);
      options.set(name, String(bytes.data));
    } else if (name === 'mode' && /^0?[0-7]{3,4}$/.test(text)) options.set(name, text.replace(/^0(?=\d{4}$)/, ''));
    else if ((name === 'uid' || name === 'gid') && /^\d{1,10}$/.test(text)) options.set(name, text);
    else return refuse(`"${option}" is no option of tmpfs here; size=16m, mode=1777, uid=N and gid=N are`);
  }
  return [
    path,
    Object.entries(sortedRecord(options))
      .map(([name, text]) => `${name}=${text}`)
      .join(','),
  ];
}

const ulimitNames = ['core', 'fsize', 'locks', 'memlock', 'msgqueue', 'nofile', 'nproc', 'sigpending', 'stack'];
const ulimitNumber = { type: 'integer', minimum: -1 };

const ulimits = value<Readonly<Record<string, Ulimit>>>(
  {
    type: 'object',
    propertyNames: { enum: ulimitNames },
    additionalProperties: {
      anyOf: [
        ulimitNumber,
        {
          type: 'object',
          properties: { soft: ulimitNumber, hard: ulimitNumber },
          required: ['soft', 'hard'],
          additionalProperties: false,
        },
      ],
    },
  },
  (raw) => {
    if (raw === null || typeof raw !== 'object' || Array.isArray(raw))
      return refuse('must be a map from limit to number');
    const result = new Map<string, Ulimit>();
    for (const [name, item] of Object.entries(raw as Record<string, unknown>)) {
      if (!ulimitNames.includes(name)) {
        const outranks = ['rtprio', 'nice', 'rttime'].includes(name);
        const advice = outranks
          ? 'what comes first is said by `x-obu.priority`'
          : `there are ${ulimitNames.join(', ')}`;
        return refuse(`no workload may set this limit; ${advice}`, name);
      }
      const limit = typeof item === 'number' ? { soft: item, hard: item } : item;
      const parsed = ulimitShape.safeParse(limit);
      if (!parsed.success) return refuse('must be a number, or { soft: N, hard: N }; -1 is no limit', name);
      const { soft, hard } = parsed.data;
      if (hard !== -1 && (soft === -1 || soft > hard)) return refuse('soft must not be above hard', name);
      result.set(name, { soft, hard });
    }
    return sortedRecord(result);
  },
);
const ulimitShape = z.strictObject({ soft: z.number().int().min(-1), hard: z.number().int().min(-1) });

const second = 1000;
const hour = 3600 * second;
const healthTimes = (least: number, word: string) => duration(least, hour, `${word} to 1h`);

const healthTest = value<readonly string[]>(
  {
    anyOf: [
      { type: 'string', pattern: '\\S' },
      {
        type: 'array',
        minItems: 1,
        prefixItems: [{ enum: ['CMD', 'CMD-SHELL', 'NONE'] }],
        items: { type: 'string' },
      },
    ],
  },
  (raw) => {
    if (typeof raw === 'string' && raw.trim() !== '') return ['CMD-SHELL', raw];
    if (!Array.isArray(raw) || !raw.every((word) => typeof word === 'string')) {
      return refuse('must be a line for the shell, or a list such as ["CMD", "/health"]');
    }
    const [kind, ...rest] = raw as string[];
    if (kind === 'NONE' && rest.length === 0) return ['NONE'];
    if (kind === 'CMD' && rest.length > 0 && rest[0] !== '') return ['CMD', ...rest];
    if (kind === 'CMD-SHELL' && rest.length === 1 && rest[0]!.trim() !== '') return ['CMD-SHELL', rest[0]!];
    return refuse('must be ["CMD", PROGRAM, …], ["CMD-SHELL", LINE] or ["NONE"]');
  },
);

const healthcheck = z
  .strictObject(
    {
      test: key(
        'what is run in the container: a line for `/bin/sh`, `[CMD, PROGRAM, …]`, `[CMD-SHELL, LINE]`',
        healthTest,
      ),
      interval: key('from one check to the next, 30s if not given', healthTimes(100, '100ms')),
      timeout: key('a check that takes longer has failed, 30s if not given', healthTimes(100, '100ms')),
      retries: key('failures in a row that make it unhealthy, 3 if not given', count(1, 1000, 'a number of checks')),
      start_period: key('failures in this time after the start do not count, 0s if not given', healthTimes(0, '0s')),
      disable: key('`true`: the check of the image is not made either', z.boolean('must be true or false')),
    },
    'must be a map with `test`, or `disable: true`',
  )
  .transform((raw, context): HealthCheck => {
    const others = Object.keys(raw).filter((one) => one !== 'disable');
    if (raw.disable === true && others.length > 0) {
      context.addIssue({ code: 'custom', message: 'nothing can stand beside `disable: true`', path: [others[0]!] });
      return z.NEVER;
    }
    const test = raw.disable === true ? ['NONE'] : raw.test;
    if (test === undefined) {
      context.addIssue({ code: 'custom', message: 'must have `test`, or `disable: true`' });
      return z.NEVER;
    }
    return {
      test,
      intervalMs: raw.interval ?? 30 * second,
      timeoutMs: raw.timeout ?? 30 * second,
      retries: raw.retries ?? 3,
      startPeriodMs: raw.start_period ?? 0,
    };
  });

const conditions: Readonly<Record<string, Dependency['condition']>> = {
  service_started: 'started',
  service_healthy: 'healthy',
  service_completed_successfully: 'completed',
};
const dependsOnShape = z.record(
  z.string(),
  z.strictObject({
    condition: z.enum(Object.keys(conditions), `must be one of ${Object.keys(conditions).join(', ')}`),
  }),
);

const dependsOn = value<readonly Dependency[]>(
  {
    anyOf: [
      { type: 'array', uniqueItems: true, items: { type: 'string' } },
      {
        type: 'object',
        additionalProperties: {
          type: 'object',
          properties: { condition: { enum: Object.keys(conditions) } },
          required: ['condition'],
          additionalProperties: false,
        },
      },
    ],
  },
  (raw) => {
    let found: Dependency[];
    if (Array.isArray(raw)) {
      const names = eachOf(raw, 'services', (item) => (typeof item === 'string' ? item : refuse('must be a name')));
      if (!Array.isArray(names)) return names;
      const twice = names.findIndex((one, i) => names.indexOf(one) < i);
      if (twice !== -1) return refuse(`"${names[twice]}" is there twice`, twice);
      found = names.map((workload) => ({ workload, condition: 'started' }));
    } else {
      const parsed = dependsOnShape.safeParse(raw);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        if (issue!.path.length === 0) return refuse('must be a list of services, or a map with a condition for each');
        const unknown = issue!.code === 'unrecognized_keys';
        const sentence = unknown ? `has \`${issue!.keys[0]}\`, and only \`condition\` is taken` : issue!.message;
        return refuse(
          issue!.path.length === 1 && !unknown ? 'must be a map with `condition`' : sentence,
          ...issue!.path,
        );
      }
      found = Object.entries(parsed.data).map(([workload, { condition }]) => ({
        workload,
        condition: conditions[condition]!,
      }));
    }
    return found.sort((a, b) => (a.workload < b.workload ? -1 : 1));
  },
);

const always = <T>(only: T, sentence: string) =>
  value<T>({ const: only }, (raw) => (raw === only ? only : refuse(sentence)));

/** Longest `stop_grace_period`: below the time that one call to the engine may take. */
const MAX_STOP_GRACE_MS = 45 * second;

/** What Compose has and an OBU applies. */
export const composeKeys = {
  image: z
    .string('must name an image')
    .regex(imagePattern, 'is no image name')
    .meta({ description: 'the image; the OBU pulls nothing, it has to be on the engine' }),
  command: key('instead of what the image runs, a list or one line; nothing is expanded', commandLine),
  entrypoint: key('instead of the entrypoint of the image', commandLine),
  environment: key('variables, as a map or a list of `NAME=VALUE`', environment),
  restart: key('`no` (if not given), `always`, `unless-stopped`, `on-failure` or `on-failure:N`', restart),
  depends_on: key(
    'services that come first, a list, or a map with `condition: service_started`, `service_healthy` or `service_completed_successfully`',
    dependsOn,
  ),
  healthcheck: key('how the engine finds out whether it is well, instead of the check of the image', healthcheck),
  mem_limit: key(
    'memory and swap together, such as `256m`; above it the workload is killed',
    size(MIN_MEM_LIMIT, 'must be at least 6m, the smallest limit that the Docker Engine takes'),
  ),
  mem_reservation: key(
    'memory that is taken from it last when the board runs short, at most `mem_limit`',
    size(MIN_MEM_LIMIT, 'must be at least 6m'),
  ),
  cpus: key('CPUs that it may use at most, such as `0.5`', cpus),
  cpuset: key('the CPUs that it may run on, such as `"0,2-3"`', cpuset),
  pids_limit: key(
    'processes and threads that it may have, 256 if not given',
    count(1, 65_536, 'a number of processes'),
  ),
  ulimits: key(`limits of its processes: ${ulimitNames.join(', ')}; a number or \`{ soft: N, hard: N }\``, ulimits),
  shm_size: key('size of `/dev/shm`, 64m if not given', size(4096, 'must be at least 4k')),
  tmpfs: key('folders in memory, `PATH` or `PATH:size=16m,mode=1777`; `/tmp` of 64m is always there', tmpfs),
  user: key('who it runs as, `USER` or `USER:GROUP`; else whom the image says, else 10001', user),
  working_dir: key('folder that it starts in', absolutePath),
  init: key(
    '`true`: a small init is its first process, passes signals on and reaps',
    z.boolean('must be true or false'),
  ),
  stop_signal: key('signal that asks it to end; else that of the image, else SIGTERM', signalName),
  stop_grace_period: key(
    'from that signal to SIGKILL, 5s if not given, at most 45s',
    duration(0, MAX_STOP_GRACE_MS, '0s to 45s'),
  ),
  hostname: key(
    'its name for itself',
    z
      .string('must be a host name')
      .regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/, 'must be a host name: letters, digits and "-"'),
  ),
  labels: key('labels of its container, as a map or a list of `NAME=VALUE`', labels),
  read_only: key('`true`, which it always is', always(true, 'a root file system is always read-only; remove the key')),
  network_mode: key(
    '`none`, which it always is',
    always('none', 'a workload has no network; it speaks through its gateway socket only'),
  ),
};
