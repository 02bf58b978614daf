/** `kerb obu apply` and `rollback`: what is to run, and the wait until it does. */
import { basename } from 'node:path';
import type { Engine } from '../../obu/engine/docker-client.ts';
import type { LoadedImages } from '../../obu/images/load.ts';
import type { Bundle } from '../../obu/images/read.ts';
import type { ManifestFile } from '../../obu/state/desired-state.ts';
import type { AppliedReply, DryRunReply, ManifestChange } from '../../shared/api/manifest.ts';
import type { WorkloadStatus } from '../../shared/api/status.ts';
import { isDisplaced, isFrozenByPerson, isWell, stateWord } from '../../shared/api/workload-state.ts';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import { table } from '../../shared/text/table.ts';
import { readNamedFile } from '../../shared/yaml/named-file.ts';
import { type ApiOptions, connectObu, type ObuClient } from '../lib/obu-client.ts';
import { interruptible, print, progress } from '../lib/output.ts';
import { withAllProblems } from './problems.ts';
import { isMoving, type Settled, untilSettled } from './settle.ts';

/** A busy board starts a container in seconds; a large bundle is loaded before. */
const CALL_TIMEOUT_MS = 60_000;

export interface WaitOptions extends ApiOptions {
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

export interface ApplyOptions extends WaitOptions {
  readonly dryRun?: boolean;
}

export async function apply(file: string, options: ApplyOptions): Promise<void> {
  const obu = await connectObu(options);
  const { engine } = await obu.status(); // before anything is read: is there an OBU at all?
  try {
    if (await isBundle(file)) await applyBundle(obu, engine, file, options);
    else await applyFile(obu, file, options);
  } catch (error) {
    throw withAllProblems(error);
  }
}

async function applyFile(obu: ObuClient, file: string, options: ApplyOptions): Promise<void> {
  const manifest = { file: basename(file), text: await readNamedFile(file, ErrorCode.BadManifest) };
  if (options.dryRun) printDryRun(await tryManifest(obu, manifest));
  else await report(obu, await postManifest(obu, manifest), options);
}

/** The manifest is tried before the images are loaded, and they are taken back when it is not applied after all. */
async function applyBundle(
  obu: ObuClient,
  { kind, host }: Pick<Engine, 'kind' | 'host'>,
  file: string,
  options: ApplyOptions,
): Promise<void> {
  // Its images go to the engine that is where the OBU is.
  obu.mustBeHere('a bundle is applied');
  const [{ checkBundle }, { checkTarget, loadImages }, { reachEngine }] = await Promise.all([
    import('../../obu/images/read.ts'),
    import('../../obu/images/load.ts'),
    import('../../obu/engine/docker-client.ts'),
  ]);
  const engine = await reachEngine(kind, host);
  const { bundle, loaded } = await interruptible(
    async (signal): Promise<{ bundle: Bundle; loaded: LoadedImages | undefined }> => {
      const checked = await checkBundle(file, progress, signal);
      await checkTarget(checked, engine);
      const images = Object.keys(checked.index.images);
      const trial = await tryManifest(obu, checked.manifest, images);
      if (!options.dryRun) return { bundle: checked, loaded: await loadImages(checked, engine, progress, signal) };
      print(`would load ${images.join(', ')}`);
      printDryRun(trial, new Set(images));
      return { bundle: checked, loaded: undefined };
    },
  );
  if (loaded === undefined) return;
  let reply: AppliedReply;
  try {
    reply = await postManifest(obu, bundle.manifest);
  } catch (error) {
    await loaded.undo();
    throw error;
  }
  await report(obu, reply, options, new Set(Object.keys(bundle.index.images)));
}

export async function rollback(workload: string | undefined, options: WaitOptions): Promise<void> {
  const query = workload === undefined ? '' : `?workload=${encodeURIComponent(workload)}`;
  const client = await connectObu(options);
  const call = { method: 'POST', timeoutMs: CALL_TIMEOUT_MS } as const;
  await report(client, await client.ask<AppliedReply>(`/v1/rollback${query}`, call), options);
}

function postManifest(obu: ObuClient, { file, text }: ManifestFile): Promise<AppliedReply> {
  return obu.ask(`/v1/manifest?file=${encodeURIComponent(file)}`, {
    method: 'POST',
    body: text,
    timeoutMs: CALL_TIMEOUT_MS,
  });
}

/** @param loads images that are not on the engine yet, or are to be replaced there */
function tryManifest(
  obu: ObuClient,
  { file, text }: ManifestFile,
  loads: readonly string[] = [],
): Promise<DryRunReply> {
  const query = `file=${encodeURIComponent(file)}&dryRun=1&loads=${encodeURIComponent(loads.join(','))}`;
  return obu.ask(`/v1/manifest?${query}`, { method: 'POST', body: text, timeoutMs: CALL_TIMEOUT_MS });
}

/** @throws KerbError BadManifest when the file can't be read */
async function isBundle(file: string): Promise<boolean> {
  try {
    const { isTar } = await import('../../obu/images/read.ts');
    return await isTar(file);
  } catch (error) {
    if (!isErrno(error)) throw error;
    // Says what is wrong in the same words as for a manifest.
    await readNamedFile(file, ErrorCode.BadManifest);
    throw new KerbError(ErrorCode.BadManifest, `${file} cannot be read: ${error.code}`, { file });
  }
}

function printDryRun({ changes, steps, waiting }: DryRunReply, loads: ReadonlySet<string> = new Set()): void {
  for (const line of changeLines(changes)) print(line);
  // A workload without an image gets it when the bundle is loaded.
  const isLoaded = ({ image, detail }: DryRunReply['waiting'][number]) =>
    detail === 'ImageMissing' && image !== undefined && loads.has(image);
  const starts = waiting
    .filter(isLoaded)
    .map((one) => ['would', 'create-and-start', one.workload, 'its image is loaded']);
  if (steps.length === 0 && starts.length === 0) print('nothing is to be done');
  const would = steps.map(({ step, workload, why }) => ['would', step, workload, why]);
  const waits = waiting
    .filter((one) => !isLoaded(one))
    .map((one) => ['waits', stateWord(one), one.workload, one.reason]);
  for (const line of table([...would, ...starts, ...waits])) print(line);
}

/**
 * @throws KerbError ContainerFailed when it is applied and a workload is not well, nor displaced as its priority says,
 * nor
 *   frozen by a person
 */
async function report(
  obu: ObuClient,
  { generation, file, changes }: AppliedReply,
  options: WaitOptions,
  loaded?: ReadonlySet<string>,
): Promise<void> {
  print(`generation ${generation} of the manifest, ${file}`);
  for (const line of changeLines(changes)) print(line);
  if (!options.wait) return;
  const settled = await interruptible((signal) =>
    untilSettled({
      status: () => obu.status(),
      onState: (one) => progress(`${one.name}: ${stateWord(one)}: ${one.reason}`),
      timeoutMs: options.timeout,
      signal,
      loaded,
    }),
  );
  const { workloads } = settled;
  const notWell = workloads.filter((one) => !isWell(one) && !isDisplaced(one) && !isFrozenByPerson(one));
  if (notWell.length > 0 || settled.end !== 'settled') throw notSettled(settled, notWell, options.timeout, generation);
  for (const line of wellLines(workloads)) print(line);
}

/** The lines that are printed when all workloads are ready. */
export function wellLines(workloads: readonly WorkloadStatus[]): string[] {
  const frozen = workloads.filter((one) => isFrozenByPerson(one));
  const displaced = workloads.filter((one) => !isWell(one) && !isFrozenByPerson(one));
  const waiting = workloads.filter(({ update }) => update === 'waiting').map(({ name }) => name);
  const more = waiting.length === 0 ? '' : `, the update of ${waiting.join(', ')} waits`;
  const well = workloads.length - displaced.length - frozen.length;
  return [
    `${wellCount(well, frozen.length, workloads.length)}${more}`,
    ...displaced.map(
      (one) => `${one.name} makes room for ${one.displacedBy!.join(', ')}: ${stateWord(one)}: ${one.reason}`,
    ),
    ...frozen.map((one) => `${one.name} is frozen by a person: ${one.reason}; kerb thaw ${one.name} lets it go on`),
  ];
}

function wellCount(well: number, frozen: number, all: number): string {
  if (all === 0) return 'the manifest has no workloads';
  if (well < all) {
    const others = [
      ...(frozen > 0 ? [`${frozen} ${frozen === 1 ? 'is' : 'are'} frozen by a person`] : []),
      ...(well + frozen < all ? ['the others make room for them'] : []),
    ];
    return `${well} of ${all} workloads ${well === 1 ? 'is' : 'are'} ready, and ${others.join(', ')}`;
  }
  return all === 1 ? 'the workload is ready' : `all ${all} workloads are ready`;
}

/** @param timeoutMs of the wait */
export function notSettled(
  { workloads, end }: Settled,
  notWell: readonly WorkloadStatus[],
  timeoutMs: number,
  generation: number,
): KerbError {
  const wordsOf = (one: WorkloadStatus) =>
    [one.name, stateWord(one), one.update, one.isOld && 'before the engine stopped answering']
      .filter(Boolean)
      .join(' ');
  const names = notWell.map(wordsOf).join(', ');
  const count =
    workloads.length === 1
      ? 'the workload is not ready'
      : `${notWell.length} of ${workloads.length} workloads are not ready`;
  const over = {
    settled: '',
    'timed-out': `, but the wait timed out (--timeout ${timeoutMs / 1000}s)`,
    interrupted: ', but the wait was interrupted',
  }[end];
  const what = notWell.length === 0 ? 'some workloads are still being started or stopped' : `${count}: ${names}`;
  const more = workloads.some(isMoving) ? '; this continues, kerb status shows the progress' : '';
  return new KerbError(ErrorCode.ContainerFailed, `the manifest is applied${over}, and ${what}${more}`, { generation });
}

function changeLines(changes: readonly ManifestChange[]): string[] {
  const words = { added: 'create', removed: 'remove', replaced: 'replace', adjusted: 'update in place' };
  const rows = changes.flatMap(({ workload, change }) => (change === 'unchanged' ? [] : [[workload, words[change]]]));
  return rows.length === 0 ? ['no workload changes'] : table(rows);
}
