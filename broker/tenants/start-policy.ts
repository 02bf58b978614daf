import type { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import { problemLines } from '../../shared/yaml/problem.ts';
import type { BrokerConfig } from '../config.ts';
import { builtInPolicy, builtInTenant } from './built-in.ts';
import type { Policy } from './policy.ts';
import { PolicyFile } from './policy-file.ts';
import { Tenants } from './tenants.ts';

/** Lines of a bad file that are logged. */
const MAX_LINES = 20;

export interface RunningPolicy {
  readonly tenants: Tenants;
  /** Undefined: there is none, and options of the command line say what tenants may. */
  readonly file: PolicyFile | undefined;
  /** Reads the file now. Resolves when what it says counts, or when it was refused. */
  reload(): Promise<void>;
  /** `listener` is called after each change, in the order of the calls, with the policy as `tenants` has it. */
  onChange(listener: () => void): void;
}

/**
 * Reads the policy of a broker and follows its file.
 * @throws KerbError BadPolicy | BadConfig
 */
export async function startPolicy(
  running: RunningParts,
  config: BrokerConfig,
  { errors, log }: { readonly errors: RecentErrors; readonly log: Logger },
): Promise<RunningPolicy> {
  const listeners: (() => void)[] = [];
  const onChange = (listener: () => void) => void listeners.push(listener);
  const { policyFile: path } = config;
  if (path === undefined) {
    const tenants = new Tenants(builtInPolicy(config));
    await running.begin('tenants', { stop: () => tenants.stop() });
    return { tenants, file: undefined, reload: async () => {}, onChange };
  }
  const file = new PolicyFile({
    file: path,
    builtIn: builtInTenant(config),
    check: (policy) => checkPushes(policy, config),
    onChange: (policy) => {
      tenants.replace(policy);
      for (const listener of listeners) listener();
      log.info({ file: path, count: policy.tenants.size }, 'the policy was read anew');
    },
    onFault: (error) => {
      const lines = isKerbError(error) ? problemLines(error) : [messageOf(error)];
      for (const line of lines.slice(0, MAX_LINES)) {
        log.error({ file: path, err: line }, 'the policy file cannot be used; the policy of before stays');
      }
      errors.add('policy', isKerbError(error) ? error.code : ErrorCode.BadPolicy, messageOf(error));
    },
  });
  const tenants = new Tenants(await file.load());
  log.info({ file: path, count: tenants.policy.tenants.size }, 'the policy was read');
  await running.begin('tenants', { stop: () => tenants.stop() });
  await running.begin('policy file', file);
  return { tenants, file, reload: () => file.look(true), onChange };
}

/** @throws KerbError BadPolicy */
function checkPushes({ tenants, others }: Policy, { trustDir, policyFile }: BrokerConfig): void {
  if (trustDir !== undefined) return;
  const pushing = [...tenants].find(([, { packages }]) => packages.push)?.[0];
  if (pushing === undefined && !others.packages.push) return;
  throw new KerbError(
    ErrorCode.BadPolicy,
    `${policyFile} lets ${pushing === undefined ? 'tenants that are not listed' : `tenant ${pushing}`} push, which needs --trust: a pushed package runs only when a trusted signer has signed it`,
    { file: policyFile },
  );
}
