import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { Command, CommandEnd } from './kerb-host.ts';

export type { CommandEnd } from './kerb-host.ts';

/**
 * `kerb` as a person runs it, without what it takes to start a process for each command: all of a test file run in one
 * process (kerb-host.ts), as if each was its own. A test that is about the process itself, such as one that interrupts it,
 * starts one.
 */
export class Kerb {
  readonly #cwd: string | undefined;
  readonly #waiting = new Map<number, { resolve: (end: CommandEnd) => void; reject: (error: Error) => void }>();
  #host: ChildProcess | undefined;
  #commands = 0;

  /** @param cwd folder that commands are run in; ours where it is not given */
  constructor(cwd?: string) {
    this.#cwd = cwd;
  }

  /** @returns how it ended, whatever its exit code is */
  run(args: readonly string[], input = ''): Promise<CommandEnd> {
    this.#host ??= this.#start();
    const command: Command = { id: ++this.#commands, args, input };
    const host = this.#host;
    return new Promise((resolve, reject) => {
      this.#waiting.set(command.id, { resolve, reject });
      host.send(command);
    });
  }

  /** Ends with this process in any case. */
  stop(): void {
    this.#host?.kill('SIGKILL');
  }

  #start(): ChildProcess {
    const host = fork(join(import.meta.dirname, 'kerb-host.ts'), [], {
      cwd: this.#cwd,
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    host.on('message', (end: CommandEnd) => {
      this.#waiting.get(end.id)?.resolve(end);
      this.#waiting.delete(end.id);
    });
    host.once('exit', (code, signal) => {
      this.#host = undefined;
      for (const { reject } of this.#waiting.values()) {
        reject(new Error(`what runs kerb for tests ended with ${code ?? signal}`));
      }
      this.#waiting.clear();
    });
    return host;
  }
}
