import { z } from 'zod';
import { count, duration, size } from '../../../shared/yaml/quantities.ts';
import { key, refuse, value } from '../../../shared/yaml/value.ts';
import { dependsOn } from '../depends-on.ts';
import { healthcheck } from '../healthcheck.ts';
import { tmpfs, ulimitNames, ulimits } from '../limits.ts';
import { absolutePath, commandLine, MIN_MEM_LIMIT, pairs, signalName } from '../values.ts';
import type { RestartPolicy } from '../workload.ts';

// The Docker Engine's reference grammar, without the parts that only a registry needs to know.
const imagePattern = /^[a-z0-9][a-z0-9._:/-]*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

const environment = pairs('(?!KERBSIDE_)[A-Za-z_][A-Za-z0-9_]*', 'NAME=VALUE', (name, item) => {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    return `"${name}" is not a valid name for an environment variable: it must be letters, digits and _, and not begin with a digit`;
  if (name.startsWith('KERBSIDE_')) return `${name}: names that begin with KERBSIDE_ belong to the OBU`;
  if (item === null) return `${name} has no value; the OBU does not pass on its own environment`;
  return undefined;
});

const labels = pairs('(?!kerbside\\.)[A-Za-z0-9][A-Za-z0-9._/-]*', 'NAME=VALUE', (name, item) => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(name))
    return `"${name}" is not a valid name for a label: it must be letters, digits and . _ - /, and begin with a letter or digit`;
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

const always = <T>(only: T, sentence: string) =>
  value<T>({ const: only }, (raw) => (raw === only ? only : refuse(sentence)));

/** Longest `stop_grace_period`: below the time that one call to the engine may take. */
const MAX_STOP_GRACE_MS = 45_000;

/** The keys of Compose that an OBU applies. */
export const composeKeys = {
  image: z
    .string('must name an image')
    .regex(
      imagePattern,
      'is not a valid image name: it must be NAME:TAG or NAME@sha256:DIGEST, with the name in lower case',
    )
    .meta({
      description:
        'the image, NAME:TAG or pinned as NAME@sha256:ID, with the id that `kerb image build` prints; the OBU pulls nothing, it has to be on the engine',
    }),
  command: key('instead of what the image runs, a list or one line; nothing is expanded', commandLine),
  entrypoint: key('instead of the entrypoint of the image', commandLine),
  environment: key('variables, as a map or a list of `NAME=VALUE`', environment),
  restart: key('`no` (if not given), `always`, `unless-stopped`, `on-failure` or `on-failure:N`', restart),
  depends_on: key(
    'services that come first, a list, or a map with `condition: service_started`, `service_healthy` or `service_completed_successfully`',
    dependsOn,
  ),
  healthcheck: key('how the engine checks its health, instead of the check of the image', healthcheck),
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
