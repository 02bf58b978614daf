import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundle } from '../support/machine/bundle.ts';
import { KernelMachine, type ScriptResult } from '../support/machine/kernel-machine.ts';

/** Until the first report: the kernel starts, and does all parts. */
export const BOOTED_MS = 3_000_000;

/** What inside/main.ts can do. */
export type Part = 'bus' | 'losses' | 'engine' | 'namespaces' | 'denied';

/**
 * The one machine that all SocketCAN suites share, and the one program that does in it what all of them want to know:
 * inside/main.ts. Both are started when the first suite needs them.
 */
export class CanMachine {
  readonly #parts: readonly Part[];
  readonly #long: boolean;
  readonly #timeoutMs: number;
  #machine: Promise<KernelMachine> | undefined;
  #ran: Promise<ScriptResult> | undefined;

  /**
   * @param parts in the order in which they are done
   * @param timeoutMs of all together
   */
  constructor(parts: readonly Part[], options: { readonly long: boolean; readonly timeoutMs: number }) {
    this.#parts = parts;
    this.#long = options.long;
    this.#timeoutMs = options.timeoutMs;
  }

  /** @throws Error with what it printed last when that part failed, or none of its report is there */
  async report<T>(part: Part): Promise<T> {
    this.#machine ??= KernelMachine.boot({
      name: 'SocketCAN tests',
      modules: ['can', 'can-raw', 'can-dev', 'vcan', ...(this.#parts.includes('engine') ? ['overlay'] : [])],
      // Not yet: it is to be said that they are missing.
      later: ['vxcan', 'can-gw', 'sch_netem'],
      memoryMib: 2048,
    });
    const machine = await this.#machine;
    this.#ran ??= this.#runAll(machine);
    const { status, output } = await this.#ran;
    const text = await readFile(join(machine.folder, `${part}.json`), 'utf8').catch(() => '{}');
    const { report, failed } = JSON.parse(text) as { report?: T; failed?: string };
    if (report !== undefined) return report;
    throw new Error(`${part}: ${failed ?? `inside/main.ts ended with status ${status}`}\n${output.slice(-6000)}`);
  }

  async #runAll(machine: KernelMachine): Promise<ScriptResult> {
    const main = join(import.meta.dirname, 'inside/main.ts');
    // Hundreds of files are read for minutes in the emulated kernel, and a few at once.
    const file = machine.kind === 'qemu' ? await bundle(main, join(machine.folder, 'bundle')) : main;
    const program = [process.execPath, '--disable-warning=ExperimentalWarning', file, machine.folder];
    const command = [...program, ...this.#parts].map((word) => `'${word}'`).join(' ');
    const env = this.#long ? 'KERB_TEST_LONG=1 ' : '';
    return machine.run(`SocketCAN (${this.#parts.join(', ')})`, env + command, this.#timeoutMs);
  }

  async stop(): Promise<void> {
    await (await this.#machine?.catch(() => undefined))?.stop();
  }
}
