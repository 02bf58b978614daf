import { stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { ManifestReply } from '../../shared/api/manifest.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { table } from '../../shared/text/table.ts';
import { readNamedFile } from '../../shared/yaml/named-file.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';
import { interruptible, print, progress, toDuration } from '../lib/output.ts';
import { apply, rollback } from './apply-command.ts';
import { type EngineOptions, engineOf, withEngine } from './engine.ts';
import { withAllProblems } from './problems.ts';

/** `kerb obu apply`, `rollback`, `get manifest`, `bundle` and `schema`. */
export function registerManifestCommands(obu: Command, get: Command): void {
  const waiting = (command: Command) =>
    withApi(command)
      .option('--no-wait', 'do not wait until all workloads are ready')
      .addOption(new Option('--timeout <time>', 'longest time to wait').argParser(toDuration).default(120_000, '2m'));

  waiting(obu.command('apply <file>'))
    .description('run the workloads of a manifest, or of a bundle (FILE.tar), instead of those of before')
    .option('--dry-run', 'dry run: print what would be done, and do nothing')
    .action(apply);

  waiting(obu.command('rollback [workload]'))
    .description('go back to the last manifest that was good; with a workload, only this one')
    .action(rollback);

  withApi(get.command('manifest').description('the manifest that was applied last'))
    .option('--generation <n>', 'an earlier generation')
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
      const { manifestJsonSchema } = await import('../../obu/manifest/schema/json-schema.ts');
      print(JSON.stringify(manifestJsonSchema(), undefined, 2));
    });
}

async function bundle(file: string, options: EngineOptions & { output: string }): Promise<void> {
  const manifest = { file, text: await readNamedFile(file, ErrorCode.BadManifest) };
  const { writeBundle } = await import('../../obu/images/write.ts');
  const engine = await engineOf(options);
  const { output } = options;
  const index = await interruptible(async (signal) => {
    try {
      return await writeBundle({ engine, manifest, output, progress, signal });
    } catch (error) {
      throw withAllProblems(error);
    }
  });
  const { size } = await stat(output);
  const images = Object.keys(index.images).join(', ');
  print(`${output}: ${file} and ${images} for ${index.architecture}, ${(size / 1e6).toFixed(1)} MB`);
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
