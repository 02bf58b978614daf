import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { isDigest, isTaskName } from '../../shared/task-package/format.ts';
import type { TrustedKeys } from '../../shared/task-package/signer.ts';
import { compareVersions, fitsRange, isVersionRange } from '../../shared/task-package/version-range.ts';
import type { TaskOffer } from '../../shared/v2e-client/announcement.ts';
import type { BrokerClient, TaskQuery } from '../../shared/v2e-client/broker-client.ts';

const MAX_LISTED = 20;

/** The task that a command line names, as this broker has it. */
export interface ChosenTask {
  readonly digest: string;
  /** Empty when the broker does not say. */
  readonly name: string;
  readonly version: string;
  /** Whose signature was verified here; undefined: the broker is trusted. */
  readonly signer: string | undefined;
}

/**
 * Reads a task as it is named on a command line: a digest, "name", "name@1.2.3" or "name@^1".
 * @throws KerbError BadConfig
 */
export function parseTask(text: string): TaskQuery | { readonly digest: string } {
  if (isDigest(text)) return { digest: text };
  const [, name = '', range = ''] = /^([^@]*)(?:@(.*))?$/.exec(text) ?? [];
  if (isTaskName(name) && isVersionRange(range) && !text.endsWith('@')) return { name, range };
  throw new KerbError(
    ErrorCode.BadConfig,
    `${JSON.stringify(text.slice(0, 100))} is not a valid task: it must be a digest, or a name like echo, echo@1.2.0 or echo@^1`,
  );
}

/**
 * Finds the task at the broker: the newest version that fits.
 * @param trust keys whose signature the task must have; undefined: the broker is trusted
 * @throws KerbError UnknownPackage, and as BrokerClient.describe and verifyDescription
 */
export async function resolveTask(
  client: BrokerClient,
  wanted: ReturnType<typeof parseTask>,
  trust: TrustedKeys | undefined,
): Promise<ChosenTask> {
  const { offers } = client;
  const fits =
    'digest' in wanted
      ? ({ digest }: TaskOffer) => digest === wanted.digest
      : ({ name, version }: TaskOffer) => name === wanted.name && fitsRange(version, wanted.range);
  const [offer] = offers.filter(fits).sort((a, b) => compareVersions(b.version, a.version));
  if (offer === undefined) throw unknownTask(client, wanted);
  const { digest, name, version } = offer;
  if (trust === undefined) return { digest, name, version, signer: undefined };
  if (!client.features.includes('describe')) {
    const message = `broker ${client.broker} does not describe its tasks, so that trust cannot be checked; without --trust, the broker is trusted`;
    throw new KerbError(ErrorCode.NotSupported, message, { broker: client.broker });
  }
  const query = 'digest' in wanted ? { taskDigest: digest, name, range: version } : wanted;
  const { verifyDescription } = await import('../../shared/v2e-client/verify-description.ts');
  const verified = await verifyDescription(await client.describe(query), query, trust, client.broker);
  const { config, signer } = verified;
  return { digest: verified.digest, name: config.name, version: config.version, signer };
}

function unknownTask({ broker, offers }: BrokerClient, wanted: ReturnType<typeof parseTask>): KerbError {
  const what = 'digest' in wanted ? wanted.digest : `${wanted.name}${wanted.range && `@${wanted.range}`}`;
  const listed = offers.slice(0, MAX_LISTED).map(({ name, version }) => `${name}@${version}`);
  const more = offers.length > MAX_LISTED ? ` and ${offers.length - MAX_LISTED} more` : '';
  const has = offers.length === 0 ? 'it offers none' : `it offers ${listed.join(', ')}${more}`;
  return new KerbError(ErrorCode.UnknownPackage, `broker ${broker} offers no task ${what}; ${has}`, { broker });
}
