/** The outside world of a bus: candump, cansend and ip, on vcan0. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { formatFrame, parseCandumpLine } from '../../../shared/can/candump.ts';

/** A candump that logs to us. */
export class Candump {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;

  /** @param command what becomes a candump, where it is not ours on vcan0 */
  constructor(filter: string, command: readonly string[] = ['candump', '-L', `vcan0${filter}`]) {
    const [program, ...args] = command;
    this.#process = spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    this.#process.stdout!.on('data', (chunk: Buffer) => {
      const parts = (rest + chunk.toString()).split('\n');
      rest = parts.pop()!;
      this.lines.push(...parts);
    });
  }

  /** Frames only, without time and interface. */
  get frames(): string[] {
    return frameTexts(this.lines);
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGTERM');
    await new Promise((resolve) => this.#process.once('close', resolve));
  }
}

/**
 * The frames in candump's lines. Read and written again: newer kernels say in the flags that an FD frame is one (`##5`
 * instead of `##1`), which the wire does not have.
 */
export function frameTexts(lines: readonly string[]): string[] {
  return lines.map((line) => formatFrame({ ...parseCandumpLine(line).frame, fdf: false }));
}

/** One process of ours for all of them: a fork of Node is what costs most in an emulated kernel. */
export function cansend(...frames: string[]): void {
  execFileSync('sh', ['-c', cansendScript('vcan0', frames)]);
}

/** Shell commands that send these frames in order, and fail with the first that cannot be sent. */
export function cansendScript(name: string, frames: readonly string[]): string {
  return frames.map((frame) => `cansend ${name} '${frame}'`).join(' && ');
}

export function ip(...args: string[]): void {
  execFileSync('ip', args);
}
