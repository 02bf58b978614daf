import { type Command, InvalidArgumentError } from 'commander';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { table } from '../../shared/text/table.ts';
import type { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { interruptible } from '../lib/output.ts';

const EXIT_INTERRUPTED = 130;

interface BrokerOptions {
  readonly broker: string;
  readonly identity: string;
  readonly id?: string;
}

/** The verbs of `kerb task` that speak with a running broker. */
export function registerTaskPushCommands(task: Command): void {
  withBroker(
    task
      .command('push <package>')
      .description('send a signed task package to a running broker, which serves it at once'),
  ).action(push);
  withBroker(task.command('list').description('what can be offloaded to a running broker')).action(list);
  withBroker(
    task.command('remove <digest>').description('remove a package that the same tenant pushed from a broker'),
  ).action(remove);
}

function withBroker(command: Command): Command {
  return command
    .requiredOption('--broker <url>', 'where it listens, like https://rsu-1.example.org:7443', parseUrl)
    .requiredOption(
      '--identity <dir>',
      'certificate of a vehicle (`kerb pki vehicle`): it says who pushes, and for which tenant',
    )
    .option('--id <id>', 'the one broker that is meant, as in its certificate (default: any of the authority)');
}

async function push(dir: string, options: BrokerOptions): Promise<void> {
  // Read whole and checked here first: what is damaged is found before anything is sent.
  const found = await readTaskPackage(dir);
  const files = await readPackageFiles(found);
  const what = `${found.config.name} ${found.config.version}`;
  await talk(options, async (client) => {
    const progress = new Progress(what, client.broker);
    const outcome = await client
      .push(found.digest, files, (sent, of) => progress.show(sent, of))
      .finally(() => progress.end());
    const there = outcome === 'ALREADY_THERE' ? 'is already there' : 'is stored there and served';
    console.log(`${found.digest} (${what}) ${there}: broker ${client.broker}`);
  });
}

async function list(options: BrokerOptions): Promise<void> {
  await talk(options, async ({ offers }) => {
    const rows = offers.map((one) => [one.digest, one.name, one.version, `${one.maxInput}`, `${one.maxOutput}`]);
    for (const line of table([['DIGEST', 'NAME', 'VERSION', 'INPUT', 'OUTPUT'], ...rows])) console.log(line);
  });
}

async function remove(digest: string, options: BrokerOptions): Promise<void> {
  if (!isDigest(digest)) {
    throw new KerbError(
      ErrorCode.BadPushRequest,
      `${digest} is not a valid digest: it must be "sha256:" and 64 hexadecimal digits; see \`kerb task list\``,
    );
  }
  await talk(options, async (client) => {
    await client.remove(digest);
    console.log(`${digest} is removed: broker ${client.broker}`);
  });
}

/** A connection for as long as `action` takes. Ctrl-C ends it; the broker then forgets what is not complete. */
async function talk(options: BrokerOptions, action: (client: BrokerClient) => Promise<void>): Promise<void> {
  const identity = await loadIdentity(options.identity, 'vehicle');
  const { BrokerClient } = await import('../../shared/v2e-client/broker-client.ts');
  await interruptible(async (signal) => {
    const client = new BrokerClient({ url: options.broker, identity, brokerId: options.id, signal });
    try {
      await client.connect();
      await action(client);
    } catch (error) {
      if (!isKerbError(error, ErrorCode.Cancelled)) throw error;
      process.stderr.write('interrupted: of a package that is not whole, the broker keeps nothing\n');
      process.exitCode = EXIT_INTERRUPTED;
    } finally {
      client.close();
    }
  });
}

/** Says on standard error how far it is, from the first second on: once a second on a terminal, every ten elsewhere. */
class Progress {
  readonly #what: string;
  readonly #broker: string;
  readonly #terminal = process.stderr.isTTY === true;
  #next = performance.now() + 1000;
  #shown = false;

  constructor(what: string, broker: string) {
    this.#what = what;
    this.#broker = broker;
  }

  show(sent: number, of: number): void {
    const now = performance.now();
    if (now < this.#next) return;
    this.#next = now + (this.#terminal ? 1000 : 10_000);
    this.#shown = true;
    const text = `${this.#what} to ${this.#broker}: ${Math.floor((100 * sent) / of)} % of ${kib(of)} KiB`;
    process.stderr.write(this.#terminal ? `\r${text}` : `${text}\n`);
  }

  end(): void {
    if (this.#shown && this.#terminal) process.stderr.write('\n');
  }
}

const kib = (bytes: number): number => Math.ceil(bytes / 1024);

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'https:' && url.pathname === '/') return url.origin;
  throw new InvalidArgumentError('write it like https://127.0.0.1:7443');
}
