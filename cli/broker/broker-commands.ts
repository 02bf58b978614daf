import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type BrokerConfig, DEFAULT_LIMITS, type PushConfig } from '../../broker/config.ts';
import { type RunningBroker, startBroker } from '../../broker/main.ts';
import { DEFAULT_PUSH_LIMITS } from '../../broker/packages/push-limits.ts';
import { CGROUP_MODES, type CgroupMode } from '../../broker/tenders/cgroups/open-groups.ts';
import { WISHED_ISOLATIONS, type WishedIsolation } from '../../broker/tenders/process/tender.ts';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import type { ListenAddress } from '../../shared/host/listen.ts';
import { ServiceManager } from '../../shared/host/service-manager.ts';
import { brokersDir } from '../../shared/host/socket-directory.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { isTenant } from '../../shared/identity/identity.ts';
import { expectLargeBuffers } from '../../shared/protocol/large-buffers.ts';
import { ensureDevelopmentSigner } from '../../shared/task-package/signer.ts';
import { parseSize } from '../../shared/text/size.ts';
import { withAllProblems } from '../obu/problems.ts';
import { type DiscoveryOptions, discoveryConfig, withDiscoveryOptions } from './discovery-options.ts';
import { registerDrainCommand } from './drain-command.ts';
import { registerFindCommand } from './find-command.ts';
import { registerForgetCommand } from './forget-command.ts';
import { registerLookCommands } from './look-commands.ts';
import { registerPolicyCommands } from './policy-commands.ts';
import { type ServiceOptions, serviceConfig, toListen, withServiceOptions } from './service-options.ts';
import { registerVersionsCommand } from './versions-command.ts';

/** Bytes: the largest that an example takes, and what one connection may make a broker hold while it arrives. */
const DEFAULT_PUSH_INPUT = 4 * 1024 * 1024;

interface ServeOptions extends ServiceOptions, DiscoveryOptions {
  readonly id: string;
  readonly listen: ListenAddress;
  readonly identity?: string;
  readonly packages: string;
  readonly trust?: string;
  readonly allowUnsigned?: boolean;
  readonly policy?: string;
  readonly state: string;
  readonly api?: string;
  readonly isolation: WishedIsolation;
  readonly cgroups: CgroupMode;
  readonly maxClients: number;
  readonly maxQueue: number;
  readonly maxQueuePerTenant: number;
  readonly maxQueueBytes: number;
  readonly tenderMemory: number;
  readonly maxTenders: number;
  readonly blankTenders: number;
  readonly prestart: 'all' | readonly string[];
  readonly pushFrom?: readonly string[];
  readonly pushSize: number;
  readonly pushQuota: number;
  readonly pushPackages: number;
  readonly pushInput: number;
}

/** `kerb broker`: the edge element. */
export function registerBrokerCommands(program: Command): void {
  const broker = program.command('broker').description('the edge element: accepts offloads over V2E and runs them');
  registerLookCommands(broker);
  registerDrainCommand(broker);
  registerFindCommand(broker);
  registerForgetCommand(broker);
  registerVersionsCommand(broker);
  const command = broker
    .command('serve')
    .description('run a broker until SIGINT or SIGTERM; a second signal stops it at once')
    .requiredOption('--id <id>', "the broker's id, as in its certificate")
    .requiredOption('--packages <dir>', 'directory of task packages')
    .addOption(
      new Option('--listen <host:port>', 'address where vehicles connect; port 0 takes a free one')
        .default({ host: '127.0.0.1', port: 7443 }, '127.0.0.1:7443')
        .argParser(toListen),
    )
    .option('--identity <dir>', 'certificate.pem, key.pem and ca.pem; without it a development identity is made')
    .option('--trust <dir>', 'public keys (*.pem) of the task signers whose packages are run')
    .option('--allow-unsigned', 'run every package, also unsigned ones')
    .option('--policy <file>', 'who may what; read anew when it changes and on SIGHUP (kerb broker policy check FILE)')
    .option('--state <dir>', 'state directory of the broker', '.kerbside')
    .option('--api <socket>', 'control socket (default: broker-ID.sock in the state directory)')
    .addOption(
      new Option('--isolation <kind>', 'how tasks are confined; auto: vm where KVM proves itself, else process')
        .choices(WISHED_ISOLATIONS)
        .default('auto'),
    )
    .addOption(cgroupsOption())
    .option('--max-clients <n>', 'vehicles that may be connected', parseCount, DEFAULT_LIMITS.maxClients)
    .option('--max-queue <n>', 'offloads that may wait for one task', parseCount, DEFAULT_LIMITS.maxQueuedPerPackage)
    .option(
      '--max-queue-per-tenant <n>',
      'offloads of one tenant that may wait',
      parseCount,
      DEFAULT_LIMITS.maxQueuedPerTenant,
    )
    .addOption(sizeOption('--max-queue-bytes <size>', 'input that may wait', DEFAULT_LIMITS.maxQueuedBytes))
    .addOption(
      sizeOption(
        '--tender-memory <size>',
        'memory that waiting tenders may hold; what does not fit is loaded with its offload',
        DEFAULT_LIMITS.tenderMemory,
      ),
    )
    .option('--max-tenders <n>', 'tender processes', parseCount, DEFAULT_LIMITS.maxTenders)
    .option(
      '--blank-tenders <n>',
      'tenders that wait, sealed and with no task yet, for one that has none',
      parseCountOrNone,
      DEFAULT_LIMITS.blankTenders,
    )
    .addOption(
      new Option('--prestart <tasks>', 'tasks to have a tender waiting for, like "echo,aqi"; or all, or none')
        .default('all', 'all')
        .argParser(parsePrestart),
    );
  withDiscoveryOptions(withServiceOptions(withPushOptions(command))).action(serve);
  registerPolicyCommands(broker);
}

function withPushOptions(command: Command): Command {
  return command
    .option(
      '--push-from <tenants>',
      'whose vehicles may push task packages, like "ACME,Example Fleet" (default: none)',
      parseTenants,
    )
    .addOption(sizeOption('--push-size <size>', 'one package that is pushed', DEFAULT_PUSH_LIMITS.maxPackageBytes))
    .addOption(sizeOption('--push-quota <size>', 'what one tenant may keep here', DEFAULT_PUSH_LIMITS.maxTenantBytes))
    .option('--push-packages <n>', 'packages of one tenant', parseCount, DEFAULT_PUSH_LIMITS.maxTenantPackages)
    .addOption(sizeOption('--push-input <size>', 'input that a pushed task may take', DEFAULT_PUSH_INPUT));
}

async function serve(options: ServeOptions): Promise<void> {
  const log = createLog('broker');
  const manager = new ServiceManager({ env: process.env, pid: process.pid, log });
  const cancel = new AbortController();
  const hurry = new AbortController();
  let running: RunningBroker | undefined;
  const stopped = new Promise<NodeJS.Signals>((resolveStopped) => {
    const onSignal = (signal: NodeJS.Signals) => {
      const again = cancel.signal.aborted;
      log.info({ signal }, again ? 'stopping at once' : 'stopping');
      if (again) hurry.abort();
      cancel.abort();
      resolveStopped(signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    process.on('SIGHUP', (signal) => {
      // Of a terminal it says that this has gone; of a service manager, that files have changed.
      if (process.stdout.isTTY || process.stdin.isTTY) return onSignal(signal);
      log.info({ signal }, 'reading the files of the configuration anew');
      void running?.reload();
    });
  });
  const stateDir = resolve(options.state);
  try {
    const config = await configOf(options, stateDir, log);
    expectLargeBuffers();
    running = await startBroker(config, { log, signal: cancel.signal, hurry: hurry.signal });
    await manager.ready(`broker ${options.id} on ${running.url}`);
    const signal = await stopped;
    await manager.stopping();
    await running.stop(signal);
  } catch (error) {
    // Asked to stop while it started: that is an end, not a failure.
    if (!isKerbError(error, ErrorCode.Cancelled)) throw withAllProblems(error);
  }
  log.info('stopped');
}

async function configOf(
  options: ServeOptions,
  stateDir: string,
  log: ReturnType<typeof createLog>,
): Promise<BrokerConfig> {
  return {
    id: options.id,
    listen: options.listen,
    identityDir: options.identity ?? (await developmentIdentity(stateDir, options.id, log)),
    packagesDir: options.packages,
    trustDir: await trustDirOf(options, stateDir, log),
    stateDir,
    apiSocket: options.api ?? join(stateDir, `broker-${options.id}.sock`),
    isolation: options.isolation,
    cgroups: options.cgroups,
    prestart: options.prestart,
    socketsDir: brokersDir(),
    ...serviceConfig(options),
    ...discoveryConfig(options),
    ...pushConfig(options),
    policyFile: options.policy,
    limits: {
      ...DEFAULT_LIMITS,
      maxClients: options.maxClients,
      maxQueuedPerPackage: options.maxQueue,
      maxQueuedPerTenant: options.maxQueuePerTenant,
      maxQueuedBytes: options.maxQueueBytes,
      tenderMemory: options.tenderMemory,
      maxTenders: options.maxTenders,
      blankTenders: options.blankTenders,
      stopMs: options.drainFor,
    },
  };
}

/** @throws KerbError BadConfig: it is said twice who may push */
function pushConfig(options: ServeOptions): { push?: PushConfig } {
  const { policy, pushFrom, pushSize, pushQuota, pushPackages, pushInput } = options;
  if (pushFrom !== undefined && policy !== undefined) {
    throw new KerbError(
      ErrorCode.BadConfig,
      `--push-from and --policy contradict each other; write "packages: { push: true }" under these tenants in ${policy}`,
    );
  }
  if (pushFrom === undefined && policy === undefined) return {};
  const limits = {
    ...DEFAULT_PUSH_LIMITS,
    maxPackageBytes: pushSize,
    maxTenantBytes: pushQuota,
    maxTenantPackages: pushPackages,
  };
  return { push: { tenants: pushFrom ?? [], limits, maxInput: pushInput } };
}

/** No package is run unless somebody said whose are: on the command line, or by using development identities. */
async function trustDirOf(
  { trust, allowUnsigned, identity }: ServeOptions,
  stateDir: string,
  log: ReturnType<typeof createLog>,
): Promise<string | undefined> {
  if (trust !== undefined && allowUnsigned) {
    throw new KerbError(ErrorCode.BadConfig, '--trust and --allow-unsigned contradict each other; give one of them');
  }
  if (trust !== undefined) return trust;
  if (allowUnsigned) {
    log.warn('--allow-unsigned: every package in the directory is run, whoever made it');
    return undefined;
  }
  if (identity !== undefined) {
    throw new KerbError(
      ErrorCode.BadConfig,
      '--trust or --allow-unsigned is required: give --trust DIR with the public keys of the task signers (`kerb pki task-signer`)',
    );
  }
  const { dir, trust: development } = await ensureDevelopmentSigner(join(stateDir, 'identity'));
  log.warn({ path: dir }, 'no --trust: running tasks signed with the development key (`kerb task sign PACKAGE`)');
  return development;
}

async function developmentIdentity(stateDir: string, id: string, log: ReturnType<typeof createLog>): Promise<string> {
  const names = { vehicle: 'demo-car', broker: id, tenant: 'kerbside-demo' };
  const { broker, vehicle, made } = await ensureDevelopmentIdentities(join(stateDir, 'identity'), names);
  for (const sentence of made) log.info({ reason: sentence }, 'development identity prepared');
  log.warn({ broker, vehicle }, 'no --identity: using a development identity; never do so on a road (see `kerb pki`)');
  return broker;
}

function cgroupsOption(): Option {
  const help = 'limit memory, processes and CPU of tenders by control groups; auto: where they can be made';
  return new Option('--cgroups <mode>', help).choices(CGROUP_MODES).default('auto');
}

function sizeOption(flags: string, description: string, defaultBytes: number): Option {
  return new Option(flags, description).default(defaultBytes, `${defaultBytes / 1024 ** 2}m`).argParser((text) => {
    const bytes = parseSize(text);
    if (bytes === undefined || bytes < 1) throw new InvalidArgumentError('write it like 512m or 1.5g');
    return bytes;
  });
}

function parsePrestart(text: string): 'all' | readonly string[] {
  if (text === 'all') return 'all';
  return text === 'none' ? [] : text.split(',').map((name) => name.trim());
}

function parseCountOrNone(text: string): number {
  return text === '0' ? 0 : parseCount(text);
}

function parseTenants(text: string): readonly string[] {
  const tenants = text.split(',').map((name) => name.trim());
  const wrong = tenants.find((name) => !isTenant(name));
  if (wrong === undefined) return tenants;
  throw new InvalidArgumentError(
    `${JSON.stringify(wrong)} is not a valid tenant: it must be an organisation as in a certificate, like "ACME,Example Fleet"`,
  );
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('a whole number, 1 or more, is needed');
  return count;
}
