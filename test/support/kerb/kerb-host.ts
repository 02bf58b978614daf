/**
 * Runs `kerb` commands that test/support/kerb/kerb.ts sends, in one process: most of what a command takes is to start Node and to
 * load modules. Each has its own standard streams, so that several may run at once.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Readable } from 'node:stream';
import { runCommand } from '../../../cli/run.ts';

export interface Command {
  readonly id: number;
  readonly args: readonly string[];
  /** Standard input. */
  readonly input: string;
  /** Whether its standard output is sent as it comes, too. */
  readonly isFollowed: boolean;
}

/** Some standard output of a command that is followed. */
export interface CommandOutput {
  readonly id: number;
  readonly text: string;
}

export interface CommandEnd {
  readonly id: number;
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface Streams {
  readonly stdin: Readable;
  readonly stdout: Buffer[];
  readonly stderr: Buffer[];
  readonly follow: ((text: string) => void) | undefined;
}

const streams = new AsyncLocalStorage<Streams>();

for (const name of ['stdout', 'stderr'] as const) {
  const stream = process[name];
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  const captured = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    const own = streams.getStore();
    if (own === undefined) return write(chunk, ...rest);
    own[name].push(Buffer.from(chunk as string));
    if (name === 'stdout') own.follow?.(Buffer.from(chunk as string).toString());
    const callback = rest.at(-1);
    if (typeof callback === 'function') process.nextTick(callback as () => void);
    return true;
  };
  stream.write = captured as typeof stream.write;
}
const { stdin } = process;
Object.defineProperty(process, 'stdin', { get: () => streams.getStore()?.stdin ?? stdin });

async function run({ id, args, input, isFollowed }: Command): Promise<CommandEnd> {
  const stdin = Readable.from(input === '' ? [] : [Buffer.from(input)]);
  const follow = isFollowed ? (text: string) => process.send!({ id, text } satisfies CommandOutput) : undefined;
  const own: Streams = { stdin, stdout: [], stderr: [], follow };
  process.exitCode = undefined;
  const code = await streams.run(own, () => runCommand(args));
  process.exitCode = undefined;
  const [out, err] = [own.stdout, own.stderr].map((chunks) => Buffer.concat(chunks).toString());
  return { id, code, out: out!, err: err! };
}

process.on('message', (command: Command) => {
  void run(command).then((end) => process.send!(end));
});
