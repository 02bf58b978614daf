import type { Command } from 'commander';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { table } from '../../shared/text/table.ts';
import type { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { type BrokerOptions, withBroker } from '../lib/broker-options.ts';
import { interruptible } from '../lib/output.ts';
import { Progress } from '../lib/progress.ts';

const EXIT_INTERRUPTED = 130;
const WHY = 'it says who pushes, and for which tenant';

/** The verbs of `kerb task` that speak with a running broker. */
export function registerTaskPushCommands(task: Command): void {
  withBroker(
    task
      .command('push <package>')
      .description('send a signed task package to a running broker, which serves it at once'),
    WHY,
  ).action(push);
  withBroker(task.command('list').description('what can be offloaded to a running broker'), WHY).action(list);
  withBroker(
    task.command('remove <digest>').description('remove a package that the same tenant pushed from a broker'),
    WHY,
  ).action(remove);
}

async function push(dir: string, options: BrokerOptions): Promise<void> {
  // Read whole and checked here first: what is damaged is found before anything is sent.
  const found = await readTaskPackage(dir);
  const files = await readPackageFiles(found);
  const what = `${found.config.name} ${found.config.version}`;
  await talk(options, async (client) => {
    const progress = new Progress();
    const outcome = await client
      .push(found.digest, files, (sent, of) => progress.show(() => progressLine(what, client.broker, sent, of)))
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

function progressLine(what: string, broker: string, sent: number, of: number): string {
  return `${what} to ${broker}: ${Math.floor((100 * sent) / of)} % of ${kib(of)} KiB`;
}

const kib = (bytes: number): number => Math.ceil(bytes / 1024);
