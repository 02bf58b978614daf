import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { measurePeer, onPath } from './peer.ts';
import { qemuMicrovm } from './qemu-microvm.ts';
import { solo5 } from './solo5.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-peer-'));
  path = join(folder, 'bin');
  mkdirSync(path);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A program on the path that notes its name and arguments, and then does what `body` says. */
function program(name: string, body = ''): void {
  const file = join(path, name);
  writeFileSync(file, `#!/bin/sh\necho "${name} $*" >>"${join(folder, 'calls')}"\n${body}\n`);
  chmodSync(file, 0o755);
}
const calls = () => readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');

describe('onPath', () => {
  test('takes the first folder that has it, and only what may be executed', () => {
    program('tool');
    writeFileSync(join(path, 'text'), '');
    mkdirSync(join(path, 'folder'));
    expect(onPath('tool', `${folder}::${path}`)).toBe(join(path, 'tool'));
    for (const other of ['text', 'folder', 'missing']) expect(onPath(other, path)).toBeUndefined();
    expect(onPath('tool', '')).toBeUndefined();
  });
});

describe('a peer', () => {
  const peer = (once: () => Promise<unknown>, stopped: string[] = []) => ({
    name: 'peer',
    n: 3,
    start: async () => ({ once, stop: async () => void stopped.push('stopped') }),
  });
  test('is measured and stopped', async () => {
    const stopped: string[] = [];
    const row = await measurePeer(
      'suite',
      peer(async () => {}, stopped),
    );
    expect(row).toMatchObject({ suite: 'suite', name: 'peer', unit: 'ms', n: 3 });
    expect(stopped).toEqual(['stopped']);
  });
  test('that cannot be started, or fails, gets a row that says why', async () => {
    const start = () => Promise.reject(new Error('there is none'));
    expect(await measurePeer('suite', { name: 'peer', n: 3, start })).toEqual({
      suite: 'suite',
      name: 'peer',
      absent: 'there is none',
    });
    const stopped: string[] = [];
    const row = await measurePeer(
      'suite',
      peer(() => Promise.reject(new Error('broke')), stopped),
    );
    expect(row).toMatchObject({ absent: 'broke' });
    expect(stopped).toEqual(['stopped']);
  });
});

describe('solo5', () => {
  const toolchain = () => {
    program('solo5-elftool', '[ -f "$2" ] && echo made >"$3"');
    program('x86_64-solo5-none-static-cc', 'while [ "$1" != -o ]; do shift; done; echo made >"$2"');
    program('x86_64-solo5-none-static-ld', 'while [ "$1" != -o ]; do shift; done; echo made >"$2"');
  };
  test('is not on the PATH', async () => {
    await expect(solo5('solo5-hvt', path)).rejects.toThrow('solo5-hvt is not on the PATH');
  });
  test('is there without what makes its guest', async () => {
    program('solo5-spt');
    program('solo5-elftool');
    await expect(solo5('solo5-spt', path)).rejects.toThrow(
      'solo5-spt is there, but not what makes its guest: x86_64-solo5-none-static-cc, x86_64-solo5-none-static-ld',
    );
  });
  test.each(['solo5-hvt', 'solo5-spt'] as const)('%s runs the guest that its tool chain has made', async (tender) => {
    program(tender, '[ -s hello.guest ]');
    toolchain();
    const peer = await solo5(tender, `${path}:/usr/bin:/bin`);
    await peer.once();
    await peer.stop();
    expect(calls()).toEqual([
      'solo5-elftool gen-manifest manifest.json manifest.c',
      'x86_64-solo5-none-static-cc -c manifest.c -o manifest.o',
      expect.stringMatching(/^x86_64-solo5-none-static-cc -c .*\/bench\/native\/solo5-hello.c -o hello.o$/),
      `x86_64-solo5-none-static-ld -z solo5-abi=${tender.slice(6)} manifest.o hello.o -o hello.guest`,
      `${tender} --mem=4 hello.guest`,
      `${tender} --mem=4 hello.guest`,
    ]);
  });
  test('that cannot run here says so', async () => {
    program('solo5-hvt', 'echo "no /dev/kvm" >&2; exit 1');
    toolchain();
    await expect(solo5('solo5-hvt', `${path}:/usr/bin:/bin`)).rejects.toThrow(/ended with 1: no \/dev\/kvm/);
  });
});

describe("QEMU's microvm", () => {
  test('is not on the PATH', async () => {
    await expect(qemuMicrovm('tcg', path)).rejects.toThrow('qemu-system-x86_64 is not on the PATH');
  });
  test('has run its guest when it ends with the code that only the guest can make', async () => {
    program('qemu-system-x86_64', 'exit 33');
    await (await qemuMicrovm('tcg', path)).once();
    expect(calls()[0]).toMatch(/ -M microvm\S* -accel tcg .* -kernel .*\/build\/bench\/microvm\.elf$/);
  });
  test.each([0, 1])('has not when it ends with %d', async (code) => {
    program('qemu-system-x86_64', `echo "no accelerator" >&2; exit ${code}`);
    await expect(qemuMicrovm('kvm', path)).rejects.toThrow(new RegExp(`ended with ${code}: no accelerator`));
  });
});
