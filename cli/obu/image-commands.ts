import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { BuiltImage } from '../../obu/images/build.ts';
import { progress } from '../lib/output.ts';
import { type EngineOptions, engineOf, withEngine } from './engine.ts';

/** `kerb image`. */
export function registerImageCommands(program: Command): void {
  const image = program.command('image').description('images for workloads, built without a registry');
  withEngine(image.command('base'))
    .description('build kerbside/app, which workloads in JavaScript and TypeScript are built on')
    .action(async (options: EngineOptions) => {
      const { buildBaseImage } = await import('../../obu/images/base-image.ts');
      report(await buildBaseImage(await engineOf(options), progress));
    });
  withEngine(image.command('build <dir>'))
    .description('build the image of a workload from a folder with a Dockerfile')
    .requiredOption('-t, --tag <tag>', 'name of the image')
    .action(async (dir: string, options: EngineOptions & { tag: string }) => {
      const { buildWorkloadImage } = await import('../../obu/images/workload-image.ts');
      report(await buildWorkloadImage(await engineOf(options), resolve(dir), options.tag, progress));
    });
}

function report({ tag, id, built }: BuiltImage): void {
  process.stdout.write(`${tag} ${id} ${built ? 'built' : 'was there already'}\n`);
}
