import { Command } from 'commander';
import { VERSION } from '../shared/base/version.ts';

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
  { verbs: ['receipt'], load: async () => [(await import('./receipt/receipt-commands.ts')).registerReceiptCommands] },
  { verbs: ['offload'], load: async () => [(await import('./offload/offload-command.ts')).registerOffloadCommand] },
  { verbs: ['pki'], load: async () => [(await import('./pki/pki-commands.ts')).registerPkiCommands] },
  { verbs: ['dbc'], load: async () => [(await import('./dbc/dbc-commands.ts')).registerDbcCommands] },
  { verbs: ['can'], load: async () => [(await import('./can/can-commands.ts')).registerCanCommands] },
  { verbs: ['sim'], load: async () => [(await import('./sim/sim-commands.ts')).registerSimCommands] },
];

/**
 * The command line with what the verb needs.
 * @param verb the first argument; all verbs are there when it is undefined or unknown
 */
export async function createProgram(verb: string | undefined): Promise<Command> {
  const program = new Command('kerb')
    .description('Kerbside: containers in the car, unikernels at the roadside')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(kerb --help lists the commands)');
  const chosen = modules.filter((module) => module.verbs.includes(verb ?? ''));
  for (const module of chosen.length > 0 ? chosen : modules) {
    for (const register of await module.load()) register(program);
  }
  inheritSettings(program, 'kerb');
  return program;
}

/** Every command throws instead of exiting, and says where its own help is. */
function inheritSettings(command: Command, name: string): void {
  for (const sub of command.commands) {
    const path = `${name} ${sub.name()}`;
    sub.exitOverride().showHelpAfterError(`(${path} --help tells more)`);
    inheritSettings(sub, path);
  }
}
