import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { BuiltImage } from '../engine/images/build.ts';
import { type ApiOptions, connectObu, withApi } from './obu-client.ts';
import { progress } from './output.ts';

interface EngineOptions extends ApiOptions {
  readonly engine?: string;
}

/** `kerb image`. */
export function registerImageCommands(program: Command): void {
  const image = program.command('image').description('images for workloads, built without a registry');
  const building = (command: Command) =>
    withApi(
      command.option('--engine <host>', 'Docker Engine, unix:///PATH (default: that of the OBU, else the one here)'),
    );
  building(image.command('base'))
    .description('build kerbside/app, which workloads in JavaScript and TypeScript are built on')
    .action(async (options: EngineOptions) => {
      const { buildBaseImage } = await import('../engine/images/base-image.ts');
      report(await buildBaseImage(await engineOf(options), progress));
    });
  building(image.command('build <dir>'))
    .description('build the image of a workload from a folder with a Dockerfile')
    .requiredOption('-t, --tag <tag>', 'name of the image')
    .action(async (dir: string, options: EngineOptions & { tag: string }) => {
      const { buildWorkloadImage } = await import('../engine/images/workload-image.ts');
      report(await buildWorkloadImage(await engineOf(options), resolve(dir), options.tag, progress));
    });
}

/** The engine that was named, else that of the OBU that runs, else the one of this machine. */
async function engineOf({ engine, ...api }: EngineOptions): Promise<Engine> {
  const { reachEngine } = await import('../engine/docker-client.ts');
  if (engine !== undefined) return reachEngine('external', engine);
  const obu = await connectObu(api);
  const status = await obu.status().catch(() => undefined); // no OBU runs there
  if (status !== undefined) return reachEngine(status.engine.kind, status.engine.host);
  const { findEngine } = await import('../engine/find-engine.ts');
  const here = await findEngine(silentLog());
  if (here !== undefined) return here;
  throw new KerbError(
    ErrorCode.EngineUnavailable,
    `no Docker Engine: none runs here and no OBU answers at ${api.api}; start the OBU first, or name one with --engine`,
  );
}

function report({ tag, id, built }: BuiltImage): void {
  process.stdout.write(`${tag} ${id} ${built ? 'built' : 'was there already'}\n`);
}
