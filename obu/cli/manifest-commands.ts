import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import type { AppliedReply, DryRunReply, ManifestChange, ManifestReply } from '../../shared/api/manifest.ts';
import { ErrorCode, isErrno, isKerbError, KerbError } from '../../shared/errors.ts';
import { table } from '../../shared/table.ts';
import { readNamedFile } from '../config.ts';
import type { Engine } from '../engine/docker-client.ts';
import { problemLines } from '../yaml.ts';
import { type EngineOptions, engineOf, withEngine } from './engine.ts';
import { type ApiOptions, connectObu, type ObuClient, withApi } from './obu-client.ts';
import { interruptible, print, progress, toDuration } from './output.ts';
import { isMoving, isWell, stateWord, untilSettled } from './settle.ts';

/** A busy board starts a container in seconds; a large bundle is loaded before. */
const CALL_TIMEOUT_MS = 60_000;

interface WaitOptions extends ApiOptions {
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

/** `kerb obu apply`, `rollback`, `get manifest`, `bundle` and `schema`. */
export function registerManifestCommands(obu: Command, get: Command): void {
  const waiting = (command: Command) =>
    withApi(command)
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
      const client = await connectObu(options);
      await report(client, await client.ask<AppliedReply>(`/v1/rollback${query}`, call), options);
    });

  withApi(get.command('manifest').description('the manifest that was applied last'))
    .option('--generation <n>', 'one of before')
    .addOption(
      new Option('-o, --output <format>', 'the text, the generations that are kept, or all')
        .choices(['yaml', 'table', 'json'])
        .default('yaml'),
    )
    .action(getManifest);

  withEngine(obu.command('bundle <manifest>'))
    .description('write a manifest and its images into one file, for an OBU without network: kerb obu apply FILE.tar')
    .requiredOption('-o, --output <file>', 'the bundle, FILE.tar')
    .action(bundle);

  obu
    .command('schema')
    .description('print the JSON schema of manifests, for editors')
    .action(async () => {
      const { manifestJsonSchema } = await import('../manifest/json-schema.ts');
      print(JSON.stringify(manifestJsonSchema(), undefined, 2));
    });
}

async function apply(file: string, options: WaitOptions & { dryRun?: boolean }): Promise<void> {
  const obu = await connectObu(options);
  const { engine } = await obu.status(); // before anything is read: is there an OBU at all?
  const manifest = await interruptible(async (signal) => {
    if (!(await isBundle(file)))
      return { file: basename(file), text: await readNamedFile(file, ErrorCode.BadManifest) };
    // Its images go to the engine that is where the OBU is.
    obu.mustBeHere('a bundle is applied');
    const { checkBundle, loadImages } = await import('../bundle/read.ts');
    const checked = await checkBundle(file, progress, signal);
    const images = Object.keys(checked.index.images).join(', ');
    if (options.dryRun) print(`would load ${images}`);
    else await loadImages(checked, await reach(engine), progress, signal);
    return checked.manifest;
  });
  const query = `file=${encodeURIComponent(manifest.file)}`;
  const call = { method: 'POST', body: manifest.text, timeoutMs: CALL_TIMEOUT_MS } as const;
  try {
    if (options.dryRun) printDryRun(await obu.ask<DryRunReply>(`/v1/manifest?${query}&dryRun=1`, call));
    else await report(obu, await obu.ask<AppliedReply>(`/v1/manifest?${query}`, call), options);
  } catch (error) {
    // The message has the first problem of a file; the person wants all of them.
    const lines = isKerbError(error, ErrorCode.BadManifest) ? problemLines(error) : [];
    if (lines.length > 1) for (const line of lines) progress(`kerb: ${line}`);
    throw error;
  }
}

/** Dockerode is loaded by who needs it. */
async function reach({ kind, host }: Pick<Engine, 'kind' | 'host'>): Promise<Engine> {
  const { reachEngine } = await import('../engine/docker-client.ts');
  return reachEngine(kind, host);
}

/** @throws KerbError BadManifest when the file can't be read */
async function isBundle(file: string): Promise<boolean> {
  try {
    const { isTar } = await import('../bundle/read.ts');
    return await isTar(file);
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new KerbError(ErrorCode.BadManifest, `${file} cannot be read: ${error.code}`, { file });
  }
}

async function bundle(file: string, options: EngineOptions & { output: string }): Promise<void> {
  const manifest = { file, text: await readNamedFile(file, ErrorCode.BadManifest) };
  const { writeBundle } = await import('../bundle/write.ts');
  const engine = await engineOf(options);
  const { output } = options;
  const index = await interruptible((signal) => writeBundle({ engine, manifest, output, progress, signal }));
  const { size } = await stat(output);
  const images = Object.keys(index.images).join(', ');
  print(`${output}: ${file} and ${images} for ${index.architecture}, ${(size / 1e6).toFixed(1)} MB`);
}

function printDryRun({ changes, steps, waiting }: DryRunReply): void {
  for (const line of changeLines(changes)) print(line);
  if (steps.length === 0) print('nothing is to be done');
  const would = steps.map(({ step, workload, why }) => ['would', step, workload, why]);
  const waits = waiting.map((one) => ['waits', stateWord(one), one.workload, one.reason]);
  for (const line of table([...would, ...waits])) print(line);
}

/** @throws KerbError ContainerFailed when it is applied and a workload is not well */
async function report(
  obu: ObuClient,
  { generation, file, changes }: AppliedReply,
  options: WaitOptions,
): Promise<void> {
  print(`generation ${generation} of the manifest, ${file}`);
  for (const line of changeLines(changes)) print(line);
  if (!options.wait) return;
  const workloads = await interruptible((signal) =>
    untilSettled({
      status: () => obu.status(),
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

async function getManifest(options: ApiOptions & { generation?: string; output: string }): Promise<void> {
  const query = options.generation === undefined ? '' : `?generation=${encodeURIComponent(options.generation)}`;
  const reply = await (await connectObu(options)).ask<ManifestReply>(`/v1/manifest${query}`);
  if (options.output === 'yaml') process.stdout.write(reply.text.endsWith('\n') ? reply.text : `${reply.text}\n`);
  else if (options.output === 'json') print(JSON.stringify(reply, undefined, 2));
  else {
    const rows = reply.generations.map(({ generation, file, appliedAt, good }) => [
      ...[String(generation), appliedAt, good ? 'yes' : 'no', file],
    ]);
    for (const line of table([['GENERATION', 'APPLIED', 'GOOD', 'FILE'], ...rows])) print(line);
  }
}
