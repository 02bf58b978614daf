import { Command, CommanderError } from 'commander';
import { errorName, isKerbError, messageOf } from '../shared/base/errors.ts';
import { VERSION } from '../shared/base/version.ts';

/** Exit codes of every `kerb` command; the README lists them. */
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

type Register = (program: Command) => void;

/**
 * Which module brings which verb. Only the module of the verb that was asked for is loaded, so that a small command on
 * a small board does not pay for dockerode and socket.io; `kerb --help` loads all.
 */
const modules: { readonly verbs: readonly string[]; readonly load: () => Promise<Register[]> }[] = [
  {
    verbs: ['obu', 'status', 'top', 'explain', 'logs', 'freeze', 'thaw', 'signal', 'camera', 'image'],
    load: async () => [(await import('./obu/obu-commands.ts')).registerObuCommands],
  },
  { verbs: ['broker'], load: async () => [(await import('./broker/broker-commands.ts')).registerBrokerCommands] },
  {
    verbs: ['task'],
    load: async () => [
      (await import('./task/package-commands.ts')).registerTaskCommands,
      (await import('./task/run-command.ts')).registerBrokerTaskCommands,
    ],
  },
  { verbs: ['pki'], load: async () => [(await import('./pki/pki-commands.ts')).registerPkiCommands] },
  { verbs: ['dbc'], load: async () => [(await import('./dbc/dbc-commands.ts')).registerDbcCommands] },
  { verbs: ['can'], load: async () => [(await import('./can/can-commands.ts')).registerCanCommands] },
  { verbs: ['sim'], load: async () => [(await import('./sim/sim-commands.ts')).registerSimCommands] },
];

/**
 * A daemon that somebody started as a child may be asked to stop when its standard input ends: the kernel closes that
 * even when the parent was killed, and so nothing is left behind.
 */
function stopWithStdin(): void {
  if (process.env.KERB_STOP_WITH_STDIN !== '1') return;
  delete process.env.KERB_STOP_WITH_STDIN; // only for us, not for our own children
  process.stdin.on('end', () => process.kill(process.pid, 'SIGTERM'));
  process.stdin.on('error', () => process.kill(process.pid, 'SIGTERM'));
  process.stdin.resume();
  // It must not keep alive a command that is done. (`unref` is there for pipes, not for files.)
  if ('unref' in process.stdin) (process.stdin as { unref(): void }).unref();
}

async function main(argv: readonly string[]): Promise<number> {
  stopWithStdin();
  const program = new Command('kerb')
    .description('Kerbside: containers in the car, unikernels at the roadside')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(kerb --help lists the commands)');
  const chosen = modules.filter((m) => m.verbs.includes(argv[0] ?? ''));
  for (const module of chosen.length > 0 ? chosen : modules) {
    for (const register of await module.load()) register(program);
  }
  inheritSettings(program, 'kerb');
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE; // it has printed its message
    if (isKerbError(error)) {
      process.stderr.write(`kerb: ${error.message} [${error.code} ${errorName(error.code)}]\n`);
    } else {
      // Not one of ours: a defect. The stack is what its finder needs.
      process.stderr.write(`kerb: ${messageOf(error)}\n${error instanceof Error ? error.stack : ''}\n`);
    }
    return EXIT_FAILED;
  }
}

/** Every command throws instead of exiting, and says where its own help is. */
function inheritSettings(command: Command, name: string): void {
  for (const sub of command.commands) {
    const path = `${name} ${sub.name()}`;
    sub.exitOverride().showHelpAfterError(`(${path} --help tells more)`);
    inheritSettings(sub, path);
  }
}

// A pipe whose reader went away (`kerb … | head`) is the end of the job, not a defect.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
