import { mapAt } from './schema.ts';

// Compose's own keys that a workload of an OBU has no use for, or may not have.
const composeTop = ['version', 'name', 'networks', 'volumes', 'configs', 'secrets', 'include', 'models'];
const composeService = (
  'annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent configs container_name cpu_count ' +
  'cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares credential_spec deploy develop ' +
  'device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts env_file expose extends external_links ' +
  'extra_hosts gpus group_add ipc isolation label_file links logging mac_address mem_swappiness memswap_limit models ' +
  'networks oom_kill_disable oom_score_adj pid platform ports post_start pre_stop privileged profiles provider ' +
  'pull_policy runtime scale secrets security_opt stdin_open storage_opt sysctls tty use_api_socket userns_mode uts ' +
  'volumes volumes_from'
).split(' ');

const noNetwork = 'a workload has no network; it speaks through its gateway socket only';
const byGrants = 'what a workload may touch is listed under `x-obu.grants`';
const byPriority = 'what comes first is said by `x-obu.priority`';

const advice: Readonly<Record<string, string>> = {
  ports: noNetwork,
  expose: noNetwork,
  networks: noNetwork,
  links: noNetwork,
  extra_hosts: noNetwork,
  dns: noNetwork,
  volumes: 'a workload writes to /data, which the OBU keeps for it',
  build: 'build the image first, with `kerb image build`, and name it in `image`',
  pull_policy: 'an OBU pulls nothing; images come with `kerb image build` or a bundle',
  deploy: 'limits are `mem_limit` and `cpus`',
  env_file: 'a manifest is one file, so that it can be kept and carried: write the variables under `environment`',
  privileged: byGrants,
  devices: byGrants,
  cap_add: byGrants,
  device_cgroup_rules: byGrants,
  cap_drop: 'a workload has no capabilities',
  security_opt: 'a workload has no capabilities and can gain no privileges',
  cpu_shares: byPriority,
  blkio_config: byPriority,
  oom_score_adj: byPriority,
  cpu_quota: 'write it as `cpus`',
  cpu_period: 'write it as `cpus`',
  memswap_limit: '`mem_limit` counts swap as well',
  container_name: 'the OBU names its containers',
  logging: 'the OBU keeps two files of 1 MB for each workload',
};

function composeKeysAt(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return composeTop;
  if (path.length === 2) return composeService;
  return path.at(-1) === 'healthcheck' ? ['start_interval'] : [];
}

/** Why a key that the schema doesn't have is refused, when it is one that somebody could rightly expect to work. */
export function explainUnknownKey(path: readonly PropertyKey[], key: string): string | undefined {
  if (!composeKeysAt(path).includes(key)) return undefined;
  const meant = Object.hasOwn(advice, key) ? `: ${advice[key]}` : '; remove it';
  return `is a key of Compose that an OBU does not take${meant}`;
}

/** Keys that a typo may have meant. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  return [...Object.keys(mapAt(path)?.shape ?? {}), ...composeKeysAt(path)];
}
