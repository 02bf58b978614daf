import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { Command, CommandEnd, CommandOutput } from './kerb-host.ts';

export type { CommandEnd } from './kerb-host.ts';

interface Waiting {
  readonly resolve: (end: CommandEnd) => void;
  readonly reject: (error: Error) => void;
  readonly onOutput: ((text: string) => void) | undefined;
}

/**
 * `kerb` as a person runs it, without what it takes to start a process for each command: all of a test file run in one
 * process (kerb-host.ts), as if each was its own. A test that is about the process itself starts one.
 */
export class Kerb {
  readonly #cwd: string | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #host: ChildProcess | undefined;
  #commands = 0;

  /** @param cwd folder that commands are run in; ours where it is not given */
  constructor(cwd?: string) {
    this.#cwd = cwd;
  }

  /** @returns how it ended, whatever its exit code is */
  run(args: readonly string[], input = ''): Promise<CommandEnd> {
    return this.#send(args, input);
  }

  /**
   * Interrupts it as Ctrl-C does as soon as its standard output matches. Nothing else may run then that a SIGINT ends.
   * @param onOutput called with all of its standard output so far
   */
  interrupted(args: readonly string[], until: RegExp, onOutput?: (out: string) => void): Promise<CommandEnd> {
    let out = '';
    let isAsked = false;
    return this.#send(args, '', (text) => {
      out += text;
      onOutput?.(out);
      if (!isAsked && until.test(out)) isAsked = this.#host!.kill('SIGINT');
    });
  }

  #send(args: readonly string[], input: string, onOutput?: (text: string) => void): Promise<CommandEnd> {
    this.#host ??= this.#start();
    const command: Command = { id: ++this.#commands, args, input, isFollowed: onOutput !== undefined };
    const host = this.#host;
    return new Promise((resolve, reject) => {
      this.#waiting.set(command.id, { resolve, reject, onOutput });
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
    host.on('message', (message: CommandEnd | CommandOutput) => {
      const waiting = this.#waiting.get(message.id);
      if ('text' in message) {
        waiting?.onOutput?.(message.text);
        return;
      }
      waiting?.resolve(message);
      this.#waiting.delete(message.id);
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
