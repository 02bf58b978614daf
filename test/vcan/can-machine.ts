import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelMachine } from '../support/machine/kernel-machine.ts';

/** The one machine that all SocketCAN suites share: it is started when the first of them needs it. */
export class CanMachine {
  #machine: Promise<KernelMachine> | undefined;
  #reports = 0;

  /**
   * Makes a new vcan0 and runs a program there that writes a report.
   * @param program Its first argument is the file to write to; these come after it.
   * @throws Error with what it printed last when it fails
   */
  async report<T>(what: string, program: string, args: readonly string[], timeoutMs: number): Promise<T> {
    this.#machine ??= KernelMachine.boot({
      name: 'SocketCAN tests',
      modules: ['can', 'can-raw', 'can-dev', 'vcan', 'overlay'],
      // Not yet: the OBU is to say that they are missing.
      later: ['vxcan', 'can-gw', 'sch_netem'],
      memoryMib: 2048,
    });
    const machine = await this.#machine;
    const file = join(machine.folder, `report-${++this.#reports}.json`);
    const command = [process.execPath, program, file, ...args].map((word) => `'${word}'`).join(' ');
    const { status, output } = await machine.run(
      what,
      `! ip link show vcan0 >/dev/null 2>&1 || ip link delete vcan0
      ip link add dev vcan0 mtu 72 type vcan
      ip link set vcan0 up
      ${command}`,
      timeoutMs,
    );
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined || status !== 0) {
      throw new Error(`${what}: ${program} ended with status ${status}: ${text ?? ''}\n${output.slice(-6000)}`);
    }
    return JSON.parse(text) as T;
  }

  async stop(): Promise<void> {
    await (await this.#machine?.catch(() => undefined))?.stop();
  }
}
