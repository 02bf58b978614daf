import type { Command } from 'commander';
import type { VersionFloor, VersionReset } from '../../shared/api/broker.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { type OutputFormat, outputOption, show } from '../lib/output.ts';
import { type BrokerApiOptions, connectBroker, withBrokerApi } from './broker-client.ts';

interface ResetOptions extends BrokerApiOptions {
  readonly output: OutputFormat;
  readonly to?: string;
  readonly clear?: boolean;
  readonly tenant?: string;
}

/** `kerb broker versions` */
export function registerVersionsCommand(broker: Command): void {
  const versions = broker
    .command('versions')
    .description('the lowest version of each task that a running broker takes');
  withBrokerApi(
    versions.command('list', { isDefault: true }).description('list them (versions: forward in the policy)'),
  )
    .addOption(outputOption())
    .action(async ({ output, ...api }: BrokerApiOptions & { readonly output: OutputFormat }) => {
      const running = await connectBroker(api);
      show(output, await running.ask<readonly VersionFloor[]>('/v1/versions'), floorLines);
    });
  withBrokerApi(
    versions
      .command('reset')
      .description('let a broker take lower versions of a task again, or higher ones only')
      .argument('<name>', 'name of the task'),
  )
    .addOption(outputOption())
    .option('--to <version>', 'this one and higher ones are taken')
    .option('--clear', 'any version is taken')
    .option('--tenant <name>', 'whose packages; "" is the operator (default: every tenant that had one)')
    .action(reset);
}

async function reset(task: string, { output, to, clear, tenant, ...api }: ResetOptions): Promise<void> {
  if ((to === undefined) === (clear === undefined)) {
    throw new KerbError(ErrorCode.BadConfig, 'give either --to VERSION or --clear');
  }
  const running = await connectBroker(api);
  const body = JSON.stringify({ task, to: to ?? null, ...(tenant !== undefined && { tenant }) });
  show(output, await running.ask<VersionReset>('/v1/versions', { method: 'POST', body }), resetLines);
}

function floorLines(floors: readonly VersionFloor[]): string[] {
  if (floors.length === 0) return ['no versions are remembered'];
  return floors.map(({ tenant, task, version }) => `${task} ${version} and higher of ${whose(tenant)}`);
}

function resetLines({ task, changed }: VersionReset): string[] {
  return changed.map(({ tenant, from, to }) => {
    const now = to === undefined ? 'any version is taken' : `${to} and higher are taken`;
    return `${task} of ${whose(tenant)}: ${now}; before it was ${from}`;
  });
}

function whose(tenant: string): string {
  return tenant === '' ? 'the operator' : `tenant ${tenant}`;
}
