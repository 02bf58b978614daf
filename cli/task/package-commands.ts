import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Language } from '../../broker/unikernel/toolchain/new.ts';
import { ARCHITECTURES, type Architecture } from '../../shared/task-package/architecture.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import type { Signature } from '../../shared/task-package/signature.ts';

/** `kerb task`: start a task, build and look at task packages. */
export function registerTaskCommands(program: Command): void {
  const task = program.command('task').description('write, build, run and look at tasks');

  registerNew(task);
  registerBuild(task);
  registerSign(task);
  registerInspect(task);
}

function registerNew(task: Command): void {
  task
    .command('new <dir>')
    .description('make a folder with a small task that builds at once; its name is that of the task')
    .addOption(new Option('--lang <language>', 'language').choices(['c', 'ts']).default('c'))
    .action(async (dir: string, options: { lang: Language }) => {
      const { newTask } = await import('../../broker/unikernel/toolchain/new.ts');
      const source = await newTask(dir, options.lang);
      console.log(`${source} is the task; try it:  echo hello | kerb task run ${dir} --input -`);
    });
}

function registerBuild(task: Command): void {
  task
    .command('build <dir>')
    .description('compile a task and package it; prints the digest that names the package')
    .option('-o, --out <dir>', 'directory of the package (default: package in the directory of the task)')
    .option('--arch <list>', 'architectures to build for, like x86_64,aarch64 (default: this one)', parseArchitectures)
    .action(async (dir: string, options: { out?: string; arch?: Architecture[] }) => {
      const { buildTask } = await import('../../broker/unikernel/toolchain/build-task.ts');
      console.log(await buildTask(dir, options.out ?? join(dir, 'package'), options.arch));
    });
}

function registerSign(task: Command): void {
  task
    .command('sign <package>')
    .description('sign a task package, so that brokers that trust the key run it')
    .option('--key <dir>', 'directory of the signer, made by `kerb pki task-signer` (default: one for development)')
    .option('--days <days>', 'days until the signature expires (default: 365)', parseDays)
    .option('--state <dir>', 'where the signer for development is kept', '.kerbside')
    .action(async (dir: string, options: { key?: string; days?: number; state: string }) => {
      const { readTaskPackage } = await import('../../shared/task-package/reader.ts');
      const { signTaskPackage } = await import('../../shared/task-package/signature.ts');
      const { ensureDevelopmentSigner, loadSigner } = await import('../../shared/task-package/signer.ts');
      const found = await readTaskPackage(dir);
      const key = options.key ?? (await ensureDevelopmentSigner(join(options.state, 'identity'))).dir;
      const { keyId, expiresAt } = await signTaskPackage(found, await loadSigner(key), options.days);
      console.log(`${found.digest} signed with ${key} (${keyId.slice(0, 16)}…), until ${expiresAt.toISOString()}`);
    });
}

function registerInspect(task: Command): void {
  task
    .command('inspect <package>')
    .description('verify a task package completely and print its contents')
    .option('--trust <dir>', 'public keys of task signers: fails unless one of them has signed it')
    .option('--json', 'as JSON')
    .action(async (dir: string, options: { trust?: string; json?: boolean }) => {
      const { readTaskPackage } = await import('../../shared/task-package/reader.ts');
      const { listSignatures, verifyTaskPackage } = await import('../../shared/task-package/signature.ts');
      const found = await readTaskPackage(dir);
      const { digest, config } = found;
      const { trust } = options;
      const { loadTrust } = await import('../../shared/task-package/signer.ts');
      const good = trust === undefined ? undefined : await verifyTaskPackage(found, await loadTrust(trust));
      const signatures = good === undefined ? await listSignatures(found) : [good];
      if (options.json) {
        console.log(JSON.stringify({ digest, ...config, verified: good !== undefined, signatures }, undefined, 2));
        return;
      }
      const lines = packageLines(found, signatures, good?.signer);
      for (const [name, value] of lines) console.log(`${name.padEnd(9)}  ${value}`);
    });
}

/** What a package holds: names and values. @param signer of the one signature, when it was verified */
function packageLines(
  { digest, config, images }: TaskPackage,
  signatures: readonly Signature[],
  signer: string | undefined,
): [string, string][] {
  return [
    ['digest', digest],
    ['name', config.name],
    ['version', config.version],
    ['isolation', config.isolation],
    ['ABI', String(config.abiVersion)],
    ['memory', `${config.memory} bytes`],
    ['input', `at most ${config.maxInput} bytes`],
    ['output', `at most ${config.maxOutput} bytes`],
    ...(config.costMs === undefined ? [] : [['cost', `about ${config.costMs} ms a call`] as [string, string]]),
    ...images.map(({ architecture, digest: image, size }): [string, string] => [
      architecture,
      `${image}, ${size} bytes`,
    ]),
    ...signatures.map(({ keyId, expiresAt }): [string, string] => [
      'signed by',
      `${signer ?? 'an unchecked key'} (${keyId.slice(0, 16)}…), until ${expiresAt.toISOString()}`,
    ]),
    ...(signatures.length === 0 ? [['signed by', 'none'] as [string, string]] : []),
  ];
}

function parseArchitectures(text: string): Architecture[] {
  const names = [...new Set(text.split(','))];
  const unknown = names.find((name) => !(ARCHITECTURES as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(
      `'${unknown}' is not a valid architecture: it must be one of ${ARCHITECTURES.join(', ')}`,
    );
  return names as Architecture[];
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > 36_500)
    throw new InvalidArgumentError('1 to 36500 days are needed');
  return days;
}
