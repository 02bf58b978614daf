import type { Command } from 'commander';
import type { ForgottenTenant } from '../../shared/api/broker.ts';
import { type OutputFormat, outputOption, show } from '../lib/output.ts';
import { type BrokerApiOptions, connectBroker, withBrokerApi } from './broker-client.ts';

/** `kerb broker forget` */
export function registerForgetCommand(broker: Command): void {
  withBrokerApi(
    broker
      .command('forget')
      .description('remove what a running broker keeps of a tenant: state of sessions, results, pushed packages')
      .argument('<tenant>', 'the organisation in the certificates of its vehicles'),
  )
    .addOption(outputOption())
    .action(async (tenant: string, { output, ...api }: BrokerApiOptions & { readonly output: OutputFormat }) => {
      const running = await connectBroker(api);
      const body = JSON.stringify({ tenant });
      show(output, await running.ask<ForgottenTenant>('/v1/forget', { method: 'POST', body }), forgottenLines);
    });
}

function forgottenLines({
  tenant,
  keys,
  outputs,
  stateBytes,
  results,
  packages,
  isScrubbed,
  aside,
}: ForgottenTenant): string[] {
  return [
    `of tenant ${tenant} were removed: ${keys} keys and ${outputs} kept outputs (${stateBytes} bytes), ${results} results, ${packages.length} packages`,
    ...packages.map((digest) => `  ${digest}`),
    ...(isScrubbed
      ? []
      : ['the disk may still hold traces of its state or results; see that it has room, and forget the tenant again']),
    ...aside.map(
      (path) => `${path} was put aside because it was damaged, and may hold something of it: remove it by hand`,
    ),
  ];
}
