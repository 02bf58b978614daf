import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { Language } from './new.ts';

/** `kerb task`: start a task, build and look at task packages. */
export function registerTaskCommands(program: Command): void {
  const task = program.command('task').description('write, build, run and look at tasks');

  task
    .command('new <dir>')
    .description('make a folder with a small task that builds at once; its name is that of the task')
    .addOption(new Option('--lang <language>', 'what it is written in').choices(['c', 'ts']).default('c'))
    .action(async (dir: string, options: { lang: Language }) => {
      const { newTask } = await import('./new.ts');
      const source = await newTask(dir, options.lang);
      console.log(`${source} is the task; try it:  echo hello | kerb task run ${dir} --input -`);
    });

  task
    .command('build <dir>')
    .description('compile a task and package it; prints the digest that names the package')
    .option('-o, --out <dir>', 'directory of the package (default: package in the directory of the task)')
    .action(async (dir: string, options: { out?: string }) => {
      const { buildTask } = await import('./build.ts');
      console.log(await buildTask(dir, options.out ?? join(dir, 'package')));
    });

  task
    .command('inspect <package>')
    .description('verify a task package whole and print what it holds')
    .option('--json', 'as JSON')
    .action(async (dir: string, options: { json?: boolean }) => {
      const { readTaskPackage } = await import('./reader.ts');
      const { digest, config, images } = await readTaskPackage(dir);
      if (options.json) {
        console.log(JSON.stringify({ digest, ...config }, undefined, 2));
        return;
      }
      const lines: [string, string][] = [
        ['digest', digest],
        ['name', config.name],
        ['version', config.version],
        ['isolation', config.isolation],
        ['ABI', String(config.abiVersion)],
        ['memory', `${config.memory} bytes`],
        ['input', `at most ${config.maxInput} bytes`],
        ['output', `at most ${config.maxOutput} bytes`],
        ...images.map(({ architecture, digest: image, size }): [string, string] => [
          architecture,
          `${image}, ${size} bytes`,
        ]),
      ];
      for (const [name, value] of lines) console.log(`${name.padEnd(9)}  ${value}`);
    });
}
