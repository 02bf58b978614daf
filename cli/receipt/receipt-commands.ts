import { type Command, Option } from 'commander';
import type { OutputFormat } from '../lib/output.ts';

interface VerifyOptions {
  readonly ca?: string;
  readonly identity?: string;
  readonly crl?: string;
  readonly input?: string;
  readonly output?: string;
  readonly format: OutputFormat;
}

/** `kerb receipt`: what a broker signed about an offload that it ran. */
export function registerReceiptCommands(program: Command): void {
  const receipt = program
    .command('receipt')
    .description('look at receipts: what brokers signed about offloads they ran');
  receipt
    .command('verify <file>')
    .description(
      'check the signature of a receipt, that its broker had a certificate when the task ran, and what was run; - reads standard input',
    )
    .addOption(new Option('--ca <file>', 'authorities that are trusted, PEM').conflicts('identity'))
    .option('--identity <dir>', 'trust the authorities of this identity (default: the development authority)')
    .option(
      '--crl <file>',
      'what the authorities have revoked, PEM (default: crl.pem of the identity, where there is one)',
    )
    .option('--input <file>', 'check that this was the input')
    .option('--output <file>', 'check that this was the output')
    .addOption(
      new Option('-o, --format <format>', 'how to print it').choices(['table', 'json', 'yaml']).default('table'),
    )
    .action(async (file: string, options: VerifyOptions) => {
      const { verifyFile, receiptLines } = await import('./verify-receipt.ts');
      const { show } = await import('../lib/output.ts');
      show(options.format, await verifyFile(file, options), receiptLines);
    });
}
