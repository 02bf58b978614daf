import { z } from 'zod';
import type { VersionReset } from '../../shared/api/broker.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { isTenant } from '../../shared/identity/identity.ts';
import { isTaskName, versionSchema } from '../../shared/task-package/format.ts';
import type { VersionFloors } from '../packages/version-floors.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';

/** The lowest versions that are taken, and what follows when they change. */
export interface VersionRules {
  readonly floors: Pick<VersionFloors, 'list' | 'reset'>;
  readonly telemetry: Pick<BrokerTelemetry, 'audit'>;
  /** Holds all packages against the floors as they are now. */
  readonly review: () => Promise<void>;
}

export interface VersionRequest {
  readonly task: string;
  /** Undefined: of every tenant; empty: of the operator. */
  readonly tenant?: string | undefined;
  /** Undefined: any version. */
  readonly to?: string | undefined;
}

const schema = z.strictObject({
  task: z.string().refine(isTaskName),
  tenant: z
    .string()
    .refine((text) => text === '' || isTenant(text))
    .optional(),
  to: versionSchema.nullable(),
});

/**
 * The body of `POST /v1/versions`: `{ "task": "NAME", "to": "VERSION" }`, where `to` is null for any version, and `tenant`
 * may say whose.
 * @throws KerbError BadControlRequest
 */
export function versionRequest(body: Buffer): VersionRequest {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    // Said below.
  }
  const read = schema.safeParse(value);
  if (read.success) return { ...read.data, to: read.data.to ?? undefined };
  const [issue] = read.error.issues;
  const where = issue?.path.length ? `${issue.path.join('.')} is not valid; ` : '';
  const message = `not a valid request for versions: ${where}it must be { "task": "NAME", "to": "VERSION" or null } and may have "tenant"`;
  throw new KerbError(ErrorCode.BadControlRequest, message);
}

/**
 * @param by whoever wants it, for the audit log
 * @throws KerbError BadControlRequest: there is none | StateDamaged | StateUnavailable
 */
export async function resetVersions(
  { floors, telemetry, review }: VersionRules,
  { task, tenant, to }: VersionRequest,
  by: string,
): Promise<VersionReset> {
  const all = (await floors.list()).filter((one) => one.task === task && (tenant ?? one.tenant) === one.tenant);
  const changed: VersionReset['changed'][number][] = [];
  for (const { tenant: owner } of all) {
    const from = await floors.reset(owner, task, to);
    if (from === undefined) continue;
    changed.push({ tenant: owner, from, ...(to !== undefined && { to }) });
    const detail = `lowest version was ${from}, is ${to ?? 'any'}`;
    telemetry.audit({ event: 'versions', by, ...(owner !== '' && { tenant: owner }), task, version: to, detail });
  }
  if (changed.length === 0) {
    const whose = tenant === undefined ? '' : ` of ${tenant === '' ? 'the operator' : `tenant ${tenant}`}`;
    const message = `no version of a task ${task}${whose} is remembered here; GET /v1/versions lists those that are`;
    throw new KerbError(ErrorCode.BadControlRequest, message);
  }
  await review();
  return { task, changed };
}
