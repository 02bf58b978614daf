import { join } from 'node:path';
import type { Command } from 'commander';
import { runtimeFolder } from '../../shared/host/runtime-folder.ts';
import { registerCameraCommands } from '../camera/camera-commands.ts';
import { registerSignalCommands } from '../signal/signal-commands.ts';
import { registerFreezeCommands } from './freeze-commands.ts';
import { registerGetCommands } from './get-commands.ts';
import { registerImageCommands } from './image-commands.ts';
import { registerLogsCommand } from './logs-command.ts';
import { registerManifestCommands } from './manifest-commands.ts';
import type { ServeOptions } from './serve-command.ts';
import { registerStatusCommands } from './status-commands.ts';

/** `kerb obu`, and the verbs on an OBU that runs. */
export function registerObuCommands(program: Command): void {
  const obu = program
    .command('obu')
    .description('the on-board unit: runs containers and gives each what it was granted');
  obu
    .command('serve')
    .description('run an OBU until SIGINT or SIGTERM; a second signal stops it at once')
    .requiredOption('--config <file>', 'what this OBU is and has: buses, signals, cameras, brokers, tasks, API')
    .option('--manifest <file>', 'the workloads, a Compose file with x-obu blocks (default: what was applied last)')
    .requiredOption('--state <dir>', 'state folder: manifests, data of workloads, the private engine')
    .option('--api <socket>', 'control socket', join(runtimeFolder(), 'obu.sock'))
    .action(async (options: ServeOptions) => {
      // Only the daemon pays for its parts.
      const { serve } = await import('./serve-command.ts');
      await serve(options);
    });
  const get = obu.command('get').description('what a running OBU has');
  registerManifestCommands(obu, get);
  registerGetCommands(get);
  registerStatusCommands(program);
  registerLogsCommand(program);
  registerFreezeCommands(program);
  registerSignalCommands(program);
  registerCameraCommands(program);
  registerImageCommands(program);
}
