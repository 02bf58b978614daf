/** Which version of a workload is to run: the one that the manifest wants, or an earlier one for a reason. */
import type { Workload } from '../manifest/workload.ts';
import type { Desired, Observed, ObservedContainer, UpdateState, Version, WorkloadRecord } from './state.ts';

/** How a workload is treated, as opposed to what its container is made from: changes without a new container. */
export type Policy = Pick<
  Workload,
  'restart' | 'dependsOn' | 'priority' | 'preemption' | 'outsource' | 'requires' | 'update' | 'dataLimit'
>;

/**
 * The version of a workload: image and configuration of its container. Other grants are its gateway's, and no reason
 * for a new container.
 */
export function containerPart(workload: Workload): unknown {
  const { grants, restart, dependsOn, priority, preemption, outsource, requires, update, dataLimit, ...rest } =
    workload;
  // But a CAN interface is a part of its network namespace.
  return { ...rest, interfaces: grants.can.filter(({ as }) => as === 'interface') };
}

export function sameVersion(
  a: Pick<Version, 'configHash' | 'imageId'> | undefined,
  b: Pick<Version, 'configHash' | 'imageId'>,
): boolean {
  return a !== undefined && a.configHash === b.configHash && a.imageId === b.imageId;
}

/** A version that the OBU has run under a manifest before, treated as the present one says. */
function earlier(version: Version, { workload }: Desired): Version {
  const { restart, dependsOn, priority, preemption, outsource, requires, update, dataLimit } = workload;
  const policy: Policy = { restart, dependsOn, priority, preemption, outsource, requires, update, dataLimit };
  return { ...version, workload: { ...version.workload, ...policy } };
}

/** Why it is not the one that the manifest wants. */
export interface PendingUpdate {
  readonly update: UpdateState;
  readonly note: string;
}

export type Target =
  | { readonly kind: 'run'; readonly version: Version; readonly pendingUpdate: PendingUpdate | undefined }
  /** It is not known what this container was made from, but it is to run on. */
  | { readonly kind: 'leave'; readonly container: ObservedContainer; readonly pendingUpdate: PendingUpdate }
  | { readonly kind: 'no-image'; readonly image: string; readonly why: string };

export function targetOf(
  desired: Desired,
  record: WorkloadRecord,
  own: readonly ObservedContainer[],
  images: Observed['images'],
  parked: { readonly condition: string; readonly holds: boolean },
): Target {
  const { workload, configHash } = desired;
  const running = own
    .filter((container) => container.state === 'running' || container.state === 'paused')
    .sort((a, b) => b.startedAtMs - a.startedAtMs || (a.id < b.id ? -1 : 1));
  const present = record.version && earlier(record.version, desired);
  const presentIsThere =
    present !== undefined &&
    (hasImage(images, present.imageId) || running.some((container) => isOf(container, present)));

  const imageId = images.get(workload.image);
  if (imageId === undefined) {
    const why = missingImage(workload.image);
    const same = running.find((container) => container.configHash === configHash);
    if (same !== undefined)
      return { kind: 'run', version: { ...desired, imageId: same.imageId }, pendingUpdate: undefined };
    const instead: PendingUpdate = { update: 'waiting', note: `its update waits: ${why}` };
    if (presentIsThere) return { kind: 'run', version: present, pendingUpdate: instead };
    if (running[0] !== undefined) return { kind: 'leave', container: running[0], pendingUpdate: instead };
    return { kind: 'no-image', image: workload.image, why };
  }
  const wanted: Version = { ...desired, imageId };
  if (sameVersion(record.bad, wanted) && record.good !== undefined) {
    const good = earlier(record.good, desired);
    const note = `rolled back to the last good version because the new one failed: ${record.bad!.why}`;
    if (hasImage(images, good.imageId) || running.some((container) => isOf(container, good))) {
      return { kind: 'run', version: good, pendingUpdate: { update: 'rolled-back', note } };
    }
    const why = `${note}; but the image of that version was removed too: apply another image or manifest`;
    return { kind: 'no-image', image: good.imageId, why };
  }
  if (workload.update.when === 'parked' && !parked.holds) {
    const note = `its update waits until the vehicle is parked (\`${parked.condition}\`)`;
    const instead: PendingUpdate = { update: 'waiting', note };
    if (presentIsThere && !sameVersion(present, wanted))
      return { kind: 'run', version: present, pendingUpdate: instead };
    if (present === undefined && running[0] !== undefined && !running.some((container) => isOf(container, wanted))) {
      return { kind: 'leave', container: running[0], pendingUpdate: instead };
    }
  }
  return { kind: 'run', version: wanted, pendingUpdate: undefined };
}

/** True when an image is on the engine, by name or id. */
export function hasImage(images: Observed['images'], id: string): boolean {
  return images.has(id) || [...images.values()].includes(id);
}

export function isOf(container: ObservedContainer, version: Version): boolean {
  return sameVersion(container, version);
}

/** The version of an earlier container, if anybody remembers it. */
export function versionOf(container: ObservedContainer, record: WorkloadRecord): Version | undefined {
  return [record.version, record.good].find((version) => version !== undefined && isOf(container, version));
}

/** True when a failed update can and should be rolled back. */
export function canRollBack(version: Version, record: WorkloadRecord, images: Observed['images']): boolean {
  const { good } = record;
  return (
    version.workload.update.rollback === 'on-unhealthy' &&
    good !== undefined &&
    !sameVersion(good, version) &&
    hasImage(images, good.imageId)
  );
}

function missingImage(image: string): string {
  if (/(^|@)sha256:/.test(image)) {
    const name = image.replace(/(^|@)sha256:.*/, '') || 'NAME';
    return (
      `image ${image} is not on this engine; one that was built or loaded here is pinned by its id, which ` +
      `\`kerb image build\` and \`docker image inspect\` print: ${name}@sha256:ID`
    );
  }
  return (
    `image ${image} is not on this engine; build it with \`kerb image build DIR --tag ${image}\` ` +
    'or load it, and the workload starts by itself'
  );
}
