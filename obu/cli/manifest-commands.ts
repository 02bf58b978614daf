import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AppliedReply, DryRunReply, ManifestChange, ManifestReply } from '../../shared/api/manifest.ts';
import { parseDuration } from '../../shared/duration.ts';
import { ErrorCode, isErrno, isKerbError, KerbError } from '../../shared/errors.ts';
import { table } from '../../shared/table.ts';
import { checkBundle, isTar, loadImages } from '../bundle/read.ts';
import { writeBundle } from '../bundle/write.ts';
import { readNamedFile } from '../config.ts';
import { reachEngine } from '../engine/docker-client.ts';
import { problemLines } from '../yaml.ts';
import { askObu, statusOf } from './api-client.ts';
import { type EngineOptions, engineOf } from './engine.ts';
import { isMoving, isWell, stateWord, untilSettled } from './settle.ts';

/** A busy board starts a container in seconds; a large bundle is loaded before. */
const CALL_TIMEOUT_MS = 60_000;

interface WaitOptions {
  readonly api: string;
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

/**
 * `kerb obu apply`, `rollback`, `get manifest`, `bundle` and `schema`.
 * @param api makes the option of the control socket
 * @param engine makes the option of the engine
 */
export function registerManifestCommands(obu: Command, api: () => Option, engine: () => Option): void {
  const waiting = (command: Command) =>
    command
      .addOption(api())
      .option('--no-wait', 'do not wait until the workloads have come to rest')
      .addOption(new Option('--timeout <time>', 'wait so long at most').argParser(toDuration).default(120_000, '2m'));

  waiting(obu.command('apply <file>'))
    .description('run the workloads of a manifest, or of a bundle (FILE.tar), instead of those of before')
    .option('--dry-run', 'say what would be done, and do nothing')
    .action((file: string, options: WaitOptions & { dryRun?: boolean }) => apply(file, options));

  waiting(obu.command('rollback [workload]'))
    .description('go back to the last manifest that was good; with a workload, only this one')
    .action(async (workload: string | undefined, options: WaitOptions) => {
      const query = workload === undefined ? '' : `?workload=${encodeURIComponent(workload)}`;
      const call = { method: 'POST', timeoutMs: CALL_TIMEOUT_MS } as const;
      await report(await askObu<AppliedReply>(options.api, `/v1/rollback${query}`, call), options);
    });

  obu
    .command('get')
    .description('what a running OBU has')
    .command('manifest')
    .description('the manifest that was applied last')
    .addOption(api())
    .option('--generation <n>', 'one of before')
    .addOption(
      new Option('-o, --output <format>', 'the text, the generations that are kept, or all')
        .choices(['yaml', 'table', 'json'])
        .default('yaml'),
    )
    .action(getManifest);

  obu
    .command('bundle <manifest>')
    .description('write a manifest and its images into one file, for an OBU without network: kerb obu apply FILE.tar')
    .requiredOption('-o, --output <file>', 'the bundle, FILE.tar')
    .addOption(engine())
    .addOption(api())
    .action(bundle);

  obu
    .command('schema')
    .description('print the JSON schema of manifests, for editors')
    .action(async () => {
      const { manifestJsonSchema } = await import('../manifest/json-schema.ts');
      print(JSON.stringify(manifestJsonSchema(), undefined, 2));
    });
}

function toDuration(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(isKerbError(error) ? error.message : String(error));
  }
}

async function apply(file: string, options: WaitOptions & { dryRun?: boolean }): Promise<void> {
  const { engine } = await statusOf(options.api); // before anything is read: is there an OBU at all?
  const manifest = await untilInterrupted(async (signal) => {
    if (!(await isBundle(file)))
      return { file: basename(file), text: await readNamedFile(file, ErrorCode.BadManifest) };
    const checked = await checkBundle(file, progress, signal);
    const images = Object.keys(checked.index.images).join(', ');
    if (options.dryRun) print(`would load ${images}`);
    else await loadImages(checked, await reachEngine(engine.kind, engine.host), progress, signal);
    return checked.manifest;
  });
  const query = `file=${encodeURIComponent(manifest.file)}`;
  const call = { method: 'POST', body: manifest.text, timeoutMs: CALL_TIMEOUT_MS } as const;
  try {
    if (options.dryRun) printDryRun(await askObu<DryRunReply>(options.api, `/v1/manifest?${query}&dryRun=1`, call));
    else await report(await askObu<AppliedReply>(options.api, `/v1/manifest?${query}`, call), options);
  } catch (error) {
    // The message has the first problem of a file; the person wants all of them.
    const lines = isKerbError(error, ErrorCode.BadManifest) ? problemLines(error) : [];
    if (lines.length > 1) for (const line of lines) progress(`kerb: ${line}`);
    throw error;
  }
}

/** @throws KerbError BadManifest when the file can't be read */
async function isBundle(file: string): Promise<boolean> {
  try {
    return await isTar(file);
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new KerbError(ErrorCode.BadManifest, `${file} cannot be read: ${error.code}`, { file });
  }
}

async function bundle(file: string, options: EngineOptions & { output: string }): Promise<void> {
  const manifest = { file, text: await readNamedFile(file, ErrorCode.BadManifest) };
  const engine = await engineOf(options);
  const { output } = options;
  const index = await untilInterrupted((signal) => writeBundle({ engine, manifest, output, progress, signal }));
  const { size } = await stat(output);
  const images = Object.keys(index.images).join(', ');
  print(`${output}: ${file} and ${images} for ${index.architecture}, ${(size / 1e6).toFixed(1)} MB`);
}

/** A Ctrl-C ends the work cleanly. @throws KerbError Cancelled */
async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  process.once('SIGTERM', onInterrupt);
  try {
    return await work(interrupt.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

function printDryRun({ changes, steps, waiting }: DryRunReply): void {
  for (const line of changeLines(changes)) print(line);
  if (steps.length === 0) print('nothing is to be done');
  const would = steps.map(({ step, workload, why }) => ['would', step, workload, why]);
  const waits = waiting.map((one) => ['waits', stateWord(one), one.workload, one.reason]);
  for (const line of table([...would, ...waits])) print(line);
}

/** @throws KerbError ContainerFailed when it is applied and a workload is not well */
async function report({ generation, file, changes }: AppliedReply, options: WaitOptions): Promise<void> {
  print(`generation ${generation} of the manifest, ${file}`);
  for (const line of changeLines(changes)) print(line);
  if (!options.wait) return;
  const workloads = await untilInterrupted((signal) =>
    untilSettled({
      status: () => statusOf(options.api),
      onState: (one) => progress(`${one.name}: ${stateWord(one)}: ${one.reason}`),
      ...{ timeoutMs: options.timeout, signal },
    }),
  );
  const notWell = workloads.filter((one) => !isWell(one));
  if (notWell.length === 0) {
    const waiting = workloads.filter(({ update }) => update === 'waiting').map(({ name }) => name);
    const more = waiting.length === 0 ? '' : `, the update of ${waiting.join(', ')} waits`;
    print(`all ${workloads.length} workloads are well${more}`);
    return;
  }
  const names = notWell.map((one) => [one.name, stateWord(one), one.update].join(' ').trimEnd()).join(', ');
  const more = notWell.some(isMoving) ? '; they go on, kerb status shows how' : '';
  const message = `the manifest is applied, and ${notWell.length} of ${workloads.length} workloads are not well: ${names}${more}`;
  throw new KerbError(ErrorCode.ContainerFailed, message, { generation });
}

function changeLines(changes: readonly ManifestChange[]): string[] {
  const words = { added: 'is new', removed: 'goes', replaced: 'is replaced', adjusted: 'goes on with other settings' };
  const rows = changes.flatMap(({ workload, change }) => (change === 'unchanged' ? [] : [[workload, words[change]]]));
  return rows.length === 0 ? ['no workload changes'] : table(rows);
}

async function getManifest(options: { api: string; generation?: string; output: string }): Promise<void> {
  const query = options.generation === undefined ? '' : `?generation=${encodeURIComponent(options.generation)}`;
  const reply = await askObu<ManifestReply>(options.api, `/v1/manifest${query}`);
  if (options.output === 'yaml') process.stdout.write(reply.text.endsWith('\n') ? reply.text : `${reply.text}\n`);
  else if (options.output === 'json') print(JSON.stringify(reply, undefined, 2));
  else {
    const rows = reply.generations.map(({ generation, file, appliedAt, good }) => [
      ...[String(generation), appliedAt, good ? 'yes' : 'no', file],
    ]);
    for (const line of table([['GENERATION', 'APPLIED', 'GOOD', 'FILE'], ...rows])) print(line);
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
