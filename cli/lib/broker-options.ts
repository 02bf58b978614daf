import { type Command, InvalidArgumentError } from 'commander';

/** Of every verb that speaks with a running broker over V2E. */
export interface BrokerOptions {
  readonly broker: string;
  readonly identity: string;
  readonly id?: string;
}

/** @param identityHelp why a certificate is needed */
export function withBroker(command: Command, identityHelp: string): Command {
  return command
    .requiredOption('--broker <url>', 'where it listens, like https://rsu-1.example.org:7443', parseUrl)
    .requiredOption('--identity <dir>', `certificate of a vehicle (\`kerb pki vehicle\`): ${identityHelp}`)
    .option('--id <id>', 'the one broker that is meant, as in its certificate (default: any of the authority)');
}

export function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'https:' && url.pathname === '/') return url.origin;
  throw new InvalidArgumentError('write it like https://127.0.0.1:7443');
}
