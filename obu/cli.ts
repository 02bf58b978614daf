import { flushCompileCache } from 'node:module';
import { join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { type Command, Option } from 'commander';
import { ErrorCode, isKerbError } from '../shared/errors.ts';
import { createLog } from '../shared/log.ts';
import { ServiceManager } from '../shared/service-manager.ts';
import { statusLines } from './api/status-lines.ts';
import { statusOf } from './cli/api-client.ts';
import { type EngineOptions, engineOf } from './cli/engine.ts';
import { registerManifestCommands } from './cli/manifest-commands.ts';
import { parseObuConfig, readNamedFile } from './config.ts';
import { registerCameraCommands } from './dashcam/cli.ts';
import type { BuiltImage } from './engine/images/build.ts';
import { runtimeRoot } from './engine/places.ts';
import { type RunningObu, startObu } from './main.ts';
import { problemLines } from './yaml.ts';

interface ServeOptions {
  readonly config: string;
  readonly manifest?: string;
  readonly state: string;
  readonly api: string;
}

/** `kerb obu`, `kerb status`, `kerb camera` and `kerb image`. */
export function registerObuCommands(program: Command): void {
  const defaultApi = join(runtimeRoot(), 'obu.sock');
  const api = () => new Option('--api <socket>', 'control socket of the OBU').default(defaultApi);

  const engine = () =>
    new Option('--engine <host>', 'Docker Engine, unix:///PATH (default: that of the OBU, else the one here)');

  const obu = program
    .command('obu')
    .description('the on-board unit: runs containers and gives each what it was granted');
  obu
    .command('serve')
    .description('run an OBU until SIGINT or SIGTERM; a second one makes it hurry')
    .requiredOption('--config <file>', 'what this OBU is and has: buses, signals, cameras, brokers, tasks')
    .option('--manifest <file>', 'the workloads, a Compose file with x-obu blocks (default: what was applied last)')
    .requiredOption(
      '--state <dir>',
      'folder for everything that is kept: manifests, data of workloads, the private engine',
    )
    .addOption(api())
    .action(serve);
  registerManifestCommands(obu, api, engine);

  program
    .command('status')
    .description('what a running OBU is doing')
    .addOption(api())
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .action(async (options: { api: string; output: string }) => {
      const status = await statusOf(options.api);
      const text = options.output === 'json' ? JSON.stringify(status, undefined, 2) : statusLines(status).join('\n');
      process.stdout.write(`${text}\n`);
    });

  registerCameraCommands(program, api);

  const image = program.command('image').description('images for workloads, built without a registry');
  image
    .command('base')
    .description('build kerbside/app, which workloads in JavaScript and TypeScript are built on')
    .addOption(engine())
    .addOption(api())
    .action(async (options: EngineOptions) => {
      const { buildBaseImage } = await import('./engine/images/base-image.ts');
      report(await buildBaseImage(await engineOf(options), progress));
    });
  image
    .command('build <dir>')
    .description('build the image of a workload from a folder with a Dockerfile')
    .requiredOption('-t, --tag <tag>', 'name of the image')
    .addOption(engine())
    .addOption(api())
    .action(async (dir: string, options: EngineOptions & { tag: string }) => {
      const { buildWorkloadImage } = await import('./engine/images/workload-image.ts');
      report(await buildWorkloadImage(await engineOf(options), resolve(dir), options.tag, progress));
    });
}

/**
 * Pictures are large buffers outside the heap. V8 counts them when it decides to collect, and by itself collects the
 * whole heap every few megabytes: with one camera of 640x480 at 15/s, a hundred times a minute, nearly half of the OBU's work. With
 * room for one and a half times the heap it is a third of that, for 20 MB more.
 */
function growHeapFirst(): void {
  setFlagsFromString('--heap-growing-percent=150');
}

async function serve(options: ServeOptions): Promise<void> {
  const log = createLog('obu');
  const manager = new ServiceManager({ env: process.env, pid: process.pid, log });
  const cancel = new AbortController();
  const hurry = new AbortController();
  let running: RunningObu | undefined;
  let signals = 0;
  const stopped = new Promise<void>((resolveStopped) => {
    const onSignal = (signal: NodeJS.Signals) => {
      signals++;
      log.info({ signal }, signals === 1 ? 'stopping' : 'stopping at once');
      if (signals > 1) hurry.abort();
      cancel.abort();
      resolveStopped();
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  try {
    const config = parseObuConfig(await readNamedFile(options.config, ErrorCode.BadConfig), options.config);
    if (config.cameras.length > 0) growHeapFirst();
    const manifest = options.manifest && {
      file: options.manifest,
      text: await readNamedFile(options.manifest, ErrorCode.BadManifest),
    };
    running = await startObu({
      ...{ config, log, signal: cancel.signal, hurry: hurry.signal, ...(manifest && { manifest }) },
      ...{ state: resolve(options.state), api: resolve(options.api) },
    });
    flushCompileCache(); // a daemon has no end at which Node would do it by itself, if it is killed
    await manager.ready(`OBU ${config.obu}: ${running.status().workloads.length} workloads`);
    await stopped;
    await manager.stopping();
    await running.stop();
    log.info('stopped');
  } catch (error) {
    if (cancel.signal.aborted && isKerbError(error, ErrorCode.Cancelled)) return; // stopped in the middle of the start
    // The message has the first problem of a file; the person wants all of them.
    const lines = isKerbError(error) ? problemLines(error) : [];
    if (lines.length > 1) for (const line of lines) process.stderr.write(`kerb: ${line}\n`);
    throw error;
  }
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function report({ tag, id, built }: BuiltImage): void {
  process.stdout.write(`${tag} ${id} ${built ? 'built' : 'was there already'}\n`);
}
