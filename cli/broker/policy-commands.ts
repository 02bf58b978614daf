import type { Command } from 'commander';
import { DEFAULT_LIMITS, NO_PUSHES } from '../../broker/config.ts';
import { builtInTenant } from '../../broker/tenants/built-in.ts';
import type { Policy, TenantPolicy } from '../../broker/tenants/policy.ts';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { checkTenant } from '../../shared/identity/identity.ts';
import { formatProblem, type Problem } from '../../shared/yaml/problem.ts';
import { type OutputFormat, outputOption, print, rowsOf, show } from '../lib/output.ts';

interface CheckOptions {
  readonly tenant?: string;
  readonly output: OutputFormat;
}

interface Checked {
  readonly file: string;
  readonly valid: boolean;
  readonly problems: readonly Problem[];
  /** The limits of one tenant, with what the file leaves out filled in. */
  readonly tenant?: { readonly name: string; readonly served: boolean; readonly may: Record<string, unknown> };
}

/** `kerb broker policy`. */
export function registerPolicyCommands(broker: Command): void {
  const policy = broker
    .command('policy')
    .description('the policy file of a broker: who may what (kerb broker serve --policy)');
  policy
    .command('check <file>')
    .description('say all that is wrong with a policy file; with --tenant, what it comes to for one tenant')
    .option('--tenant <tenant>', 'print what this tenant may, with what the file leaves out filled in')
    .addOption(outputOption())
    .action(check);
  policy
    .command('schema')
    .description('print the JSON schema of policy files, for editors')
    .action(async () => {
      const { policyJsonSchema } = await import('../../broker/tenants/policy-schema.ts');
      print(JSON.stringify(policyJsonSchema(), undefined, 2));
    });
}

async function check(file: string, { tenant, output }: CheckOptions): Promise<void> {
  if (tenant !== undefined) checkTenant(tenant);
  const { readPolicy } = await import('../../broker/tenants/parse-policy.ts');
  let policy: Policy;
  try {
    policy = await readPolicy(file, builtInTenant({ limits: DEFAULT_LIMITS, push: NO_PUSHES }));
  } catch (error) {
    if (!isKerbError(error, ErrorCode.BadPolicy)) throw error;
    const found = (error.context.problems ?? []) as readonly Problem[];
    // A file that cannot be read has no line.
    if (found.length === 0) throw error;
    show<Checked>(output, { file, valid: false, problems: found }, () => found.map(formatProblem));
    const count = `${found.length} problem${found.length === 1 ? '' : 's'}`;
    throw new KerbError(ErrorCode.BadPolicy, `${file} has ${count}; a broker does not take it`, error.context);
  }
  const checked: Checked = {
    file,
    valid: true,
    problems: [],
    ...(tenant === undefined ? {} : { tenant: effective(policy, tenant) }),
  };
  show(output, checked, linesOf(policy));
}

function effective(policy: Policy, name: string): Checked['tenant'] {
  const listed = policy.tenants.get(name);
  const served = listed !== undefined || !policy.refuseOthers;
  const may: Record<string, unknown> = {};
  flatten(listed ?? policy.others, '', may);
  return { name, served, may };
}

/** "results.keepMs": 3600000; JSON has no infinity. */
function flatten(value: TenantPolicy | object, prefix: string, into: Record<string, unknown>): void {
  for (const [key, part] of Object.entries(value)) {
    if (part === Number.POSITIVE_INFINITY) into[prefix + key] = 'unlimited';
    else if (typeof part === 'object' && !Array.isArray(part)) flatten(part, `${prefix}${key}.`, into);
    else into[prefix + key] = part;
  }
}

function linesOf(policy: Policy): (checked: Checked) => string[] {
  return ({ file, tenant }) => {
    if (tenant === undefined) {
      const others = policy.refuseOthers ? 'all others are refused' : 'all others as under `default`';
      return [`${file} is valid: ${policy.tenants.size} tenants, ${others}`];
    }
    if (!tenant.served) return [`${tenant.name} is not served: it is not listed, and others are refused`];
    const rows = Object.entries(tenant.may).map(([key, value]) => [key, textOf(value)]);
    return rowsOf(['key', tenant.name], rows, '');
  };
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.join(', ');
  return String(value);
}
