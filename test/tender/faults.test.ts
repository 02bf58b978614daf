import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { tenderBinary } from '../../broker/tenders/process/tender-binary.ts';
import { loadFrame, OPENED_FRAME, RELEASE_FRAME, writeCall } from '../../broker/tenders/process/tender-frames.ts';
import type { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { answer, forEachIsolation, forEachWay, guestImage, taskImage } from './support.ts';

const folder = mkdtempSync(join(tmpdir(), 'kerb-faults-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const gone = (pid: number): boolean => !existsSync(`/proc/${pid}`) || /^State:\s+[ZX]/m.test(status(pid));
const status = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return 'State:\tX';
  }
};
/** The processes that a tender has forked: in isolation `process` the one that runs or waits for its call. */
const children = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 5_000, interval: 10 });

function deathOf(tender: TenderProcess): Promise<string> {
  return new Promise((resolve) => tender.onDeath(resolve));
}

await forEachWay((tenders, isolation) => {
  describe('a tender that is killed', () => {
    test('during a call loses that call, takes its guest along, and says so', async () => {
      const tender = await tenders.start(guestImage('loop'));
      const death = deathOf(tender);
      const call = tender.call(Buffer.alloc(0), 10_000);
      const pid = tender.pid!;
      const [guest] = children(pid);
      expect(guest !== undefined).toBe(isolation === 'process');
      process.kill(pid, 'SIGKILL');
      await expect(call).rejects.toMatchObject({ code: 8003, message: expect.stringContaining('SIGKILL') });
      expect(await death).toContain('SIGKILL');
      expect(tender.state).toBe('Dead');
      if (guest !== undefined) await eventually(() => expect(gone(guest)).toBe(true));
      await expect(tender.call(Buffer.alloc(0), 100)).rejects.toMatchObject({ code: 8003 });
    });

    test('while a large input is copied to it, or a large output from it, loses the call and nothing else', async () => {
      const input = Buffer.alloc(4 << 20, 1);
      for (const wait of [0, 1, 2, 4, 8]) {
        const tender = await tenders.start(taskImage('echo'));
        const call = tender.call(input, 5_000);
        setTimeout(() => process.kill(tender.pid!, 'SIGKILL'), wait);
        // Should the machine be quick, the call is over before.
        const result = await call.catch((error: unknown) => error);
        if (result instanceof Error) expect(result).toMatchObject({ code: 8003 });
        else expect(result).toMatchObject({ outcome: 'done' });
        await eventually(() => expect(tender.state).toBe('Dead'));
      }
    });

    test('between calls says so', async () => {
      const tender = await tenders.start(guestImage('hello'));
      const death = deathOf(tender);
      const [guest] = children(tender.pid!);
      process.kill(tender.pid!, 'SIGKILL');
      expect(await death).toContain('SIGKILL');
      if (guest !== undefined) await eventually(() => expect(gone(guest)).toBe(true));
      await expect(tender.call(Buffer.alloc(0), 100)).rejects.toMatchObject({ code: 8003 });
    });

    test('while it loads is unavailable', async () => {
      const tender = tenders.make(guestImage('hello'));
      const start = tender.start();
      process.kill(tender.pid!, 'SIGKILL');
      // Whichever is noticed first: that it is dead, or that its memory is gone.
      await expect(start).rejects.toMatchObject({
        code: 8002,
        message: expect.stringMatching(/was ended by SIGKILL|memory cannot be opened/),
      });
      await eventually(() => expect(tender.state).toBe('Dead'));
    });

    if (isolation === 'process')
      test('in the guest only costs the one call', async () => {
        const tender = await tenders.start(guestImage('loop'));
        const call = tender.call(Buffer.alloc(0), 10_000);
        await eventually(() => expect(children(tender.pid!).length).toBe(1));
        process.kill(children(tender.pid!)[0]!, 'SIGKILL');
        expect(await call).toMatchObject({
          outcome: 'fault',
          fault: expect.stringContaining('SIGKILL: killed from outside'),
        });
        expect((await tender.call(Buffer.alloc(0), 20)).outcome).toBe('deadline');
      });

    if (isolation === 'process')
      test('in the guest that waits for its call costs that call', async () => {
        const tender = await tenders.start(guestImage('hello'));
        await eventually(() => expect(children(tender.pid!).length).toBe(1));
        process.kill(children(tender.pid!)[0]!, 'SIGKILL');
        expect((await tender.call(Buffer.from('a'), 1_000)).outcome).toBe('fault');
        expect(answer(await tender.call(Buffer.from('b'), 1_000))).toBe('hello, b');
      });
  });
});

await forEachIsolation((tenders, isolation) => {
  describe('a tender that is late', () => {
    // One that hangs: broker/tenders/process/tender-calls.test.ts.
    test('because it got no processor is waited for, and answers', async () => {
      const tender = await tenders.start(guestImage('hello'));
      process.kill(tender.pid!, 'SIGSTOP');
      const outcome = tender.call(Buffer.from('x'), 20);
      await sleep(1_000);
      process.kill(tender.pid!, 'SIGCONT');
      expect((await outcome).outcome).toMatch(/^done$|^deadline$/);
      expect(answer(await tender.call(Buffer.from('y'), 5_000))).toBe('hello, y');
    });

    test('because it got none for seconds is killed, and is not at fault', async () => {
      const tender = await tenders.start(guestImage('hello'));
      const deaths = vi.fn();
      tender.onDeath(deaths);
      const [guest] = children(tender.pid!);
      process.kill(tender.pid!, 'SIGSTOP');
      await expect(tender.call(Buffer.from('x'), 20)).rejects.toMatchObject({
        code: 8003,
        message: expect.stringContaining('got no processor within 3000 ms after its budget'),
        context: { starved: true },
      });
      await eventually(() => expect(deaths).toHaveBeenCalledWith(expect.stringContaining('got no processor'), true));
      expect(tender.state).toBe('Dead');
      if (guest !== undefined) await eventually(() => expect(gone(guest)).toBe(true));
    });
  });

  describe('stop()', () => {
    test('ends a waiting tender and its waiting guest', async () => {
      const tender = await tenders.start(guestImage('hello'));
      const death = vi.fn();
      tender.onDeath(death);
      const pid = tender.pid!;
      const [guest] = children(pid);
      await tender.stop();
      expect(tender.state).toBe('Stopped');
      expect(gone(pid)).toBe(true);
      if (guest !== undefined) await eventually(() => expect(gone(guest)).toBe(true));
      expect(death).not.toHaveBeenCalled();
      await tender.stop();
    });

    test('ends a busy tender at once', async () => {
      const tender = await tenders.start(guestImage('loop'));
      const call = tender.call(Buffer.alloc(0), 60_000);
      const refused = expect(call).rejects.toMatchObject({ code: 8003, message: expect.stringContaining('stopped') });
      await tender.stop();
      await refused;
      expect(tender.state).toBe('Stopped');
    });

    test('in the middle of start() ends that, too', async () => {
      const tender = tenders.make(guestImage('hello'));
      const refused = expect(tender.start()).rejects.toMatchObject({ code: 8002 });
      const pid = tender.pid!;
      await tender.stop();
      await refused;
      expect(gone(pid)).toBe(true);
    });

    test('before start() does nothing', async () => {
      const tender = tenders.make(guestImage('hello'));
      await tender.stop();
      expect(tender.state).toBe('Stopped');
      await expect(tender.start()).rejects.toMatchObject({ code: 8002 });
    });
  });

  describe('a busy tender', () => {
    test('takes no second call', async () => {
      const tender = await tenders.start(guestImage('loop'));
      const first = tender.call(Buffer.alloc(0), 50);
      await expect(tender.call(Buffer.alloc(0), 50)).rejects.toMatchObject({ code: 8002 });
      expect((await first).outcome).toBe('deadline');
    });
  });

  /** A tender without the broker's side: the test speaks on its socket. */
  async function bare(): Promise<{ child: ChildProcess; socket: Socket; ended: Promise<unknown[]> }> {
    const child = spawn(tenderBinary(), ['65534', isolation], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: {},
    });
    const socket = child.stdio[3] as Socket;
    socket.on('error', () => {});
    return { child, socket, ended: once(child, 'exit') };
  }

  async function bareReady(image: string) {
    const tender = await bare();
    await once(tender.socket, 'data');
    const bytes = readFileSync(image);
    tender.socket.write(Buffer.concat([OPENED_FRAME, loadFrame(bytes.length, 'auto'), bytes]));
    for (let loaded = false; !loaded; ) {
      const [answer] = (await once(tender.socket, 'data')) as [Buffer];
      loaded = answer.readUInt32LE(4) === 2 || answer.length > 100; // LOADED, alone or right behind BLANK
    }
    return tender;
  }

  function callFrame(inputSize: number, inline: boolean, budgetMs = 5_000): Buffer {
    const frame = Buffer.alloc(32);
    writeCall(frame, inputSize, budgetMs * 1e6, inline);
    return frame;
  }

  /** Exit codes of the tender: 0 the broker hung up, 3 it broke the protocol. */
  describe('on the socket', () => {
    test('a close between frames ends the tender, and its waiting guest', async () => {
      const { child, socket, ended } = await bareReady(guestImage('hello'));
      const [guest] = children(child.pid!);
      socket.end();
      expect(await ended).toEqual([0, null]);
      if (guest !== undefined) await eventually(() => expect(gone(guest)).toBe(true));
    });

    test('a close before the first frame ends the tender', async () => {
      const { socket, ended } = await bare();
      socket.end();
      expect(await ended).toEqual([0, null]);
    });

    test('a close while it is blank ends the tender', async () => {
      const { socket, ended } = await bare();
      await once(socket, 'data');
      socket.write(OPENED_FRAME);
      await once(socket, 'data');
      socket.end();
      expect(await ended).toEqual([0, null]);
    });

    const loadWith = (change: (frame: Buffer) => void): Buffer => {
      const frame = loadFrame(0, 'auto');
      change(frame);
      return frame;
    };
    test.each([
      ['a call before an image', callFrame(0, true)],
      ['a cut-off image', loadFrame(100, 'auto')],
      ['an image above 64 MiB', loadFrame(64 * 1024 * 1024 + 1, 'auto')],
      ['an image that is not inline', loadWith((frame) => frame.writeUInt32LE(0, 24))],
      ['an image with a budget', loadWith((frame) => frame.writeUInt32LE(1, 16))],
      ['an isolation that is none', loadWith((frame) => frame.writeUInt32LE(3, 28))],
    ])('%s ends a blank tender', async (_what, bytes) => {
      const { socket, ended } = await bare();
      await once(socket, 'data');
      socket.end(Buffer.concat([OPENED_FRAME, bytes]));
      expect(await ended).toEqual([3, null]);
    });

    test.each([1, 4, 31])('a close after %d bytes of a frame ends the tender', async (size) => {
      const { socket, ended } = await bareReady(guestImage('hello'));
      socket.end(callFrame(1, true).subarray(0, size));
      expect(await ended).toEqual([3, null]);
    });

    test('a close in the middle of an input ends the tender', async () => {
      const { socket, ended } = await bareReady(guestImage('hello'));
      socket.write(callFrame(100, true));
      socket.end(Buffer.alloc(50));
      expect(await ended).toEqual([3, null]);
    });

    test('a close during a call ends the call and the tender', async () => {
      const { child, socket, ended } = await bareReady(guestImage('loop'));
      const [guest] = children(child.pid!);
      socket.write(callFrame(0, true, 60_000));
      await eventually(() => expect(status(guest ?? child.pid!)).toMatch(/^State:\s+R/m));
      socket.destroy();
      expect(await ended).toEqual([3, null]);
      if (guest !== undefined) expect(gone(guest)).toBe(true);
    });

    const changedCall = (change: (frame: Buffer) => void): Buffer => {
      const frame = callFrame(0, true);
      change(frame);
      return frame;
    };
    test.each([
      ['text', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
      ['zeros', Buffer.alloc(64)],
      ['ones', Buffer.alloc(64, 0xff)],
      ['a frame out of turn', RELEASE_FRAME],
      ['a second handshake', OPENED_FRAME],
      ['a second image', Buffer.concat([loadFrame(1, 'auto'), Buffer.alloc(1)])],
      ['an unknown type', changedCall((frame) => frame.writeUInt32LE(99, 4))],
      ['a length that is too short', changedCall((frame) => frame.writeUInt32LE(0, 0))],
      ['a length that is too long', changedCall((frame) => frame.writeUInt32LE(0xffffffff, 0))],
      ['an input above the limit', callFrame(4097, true)],
      ['an input above what goes inline', callFrame(256 * 1024 + 1, true)],
      ['an input of 2^63 bytes', changedCall((frame) => frame.writeBigUInt64LE(2n ** 63n, 8))],
      ['an input in the memfd above the limit', callFrame(4097, false)],
      ['a budget of zero', callFrame(0, true, 0)],
      ['a budget of 2^64 - 1', changedCall((frame) => frame.writeBigUInt64LE(2n ** 64n - 1n, 16))],
      ['a strange flag', changedCall((frame) => frame.writeUInt32LE(2, 24))],
      ['an isolation in a call', changedCall((frame) => frame.writeUInt32LE(1, 28))],
      ['a second call during the first', Buffer.concat([callFrame(0, true), callFrame(0, true)])],
    ])('%s ends the tender', async (_what, bytes) => {
      const { child, socket, ended } = await bareReady(guestImage('loop'));
      let stderr = '';
      child.stderr?.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
      });
      socket.write(bytes);
      expect(await ended).toEqual([3, null]);
      expect(stderr).toMatch(/^kerb-tender: .*broker|^kerb-tender: (input|budget)/);
    });

    test('a broker that does not read blocks the tender, which ends when the broker does', async () => {
      const { child, socket, ended } = await bareReady(taskImage('echo'));
      socket.pause();
      socket.write(callFrame(256 * 1024, true));
      socket.write(Buffer.alloc(256 * 1024, 1));
      // The answer is larger than the socket's buffer: the tender sleeps in the middle of it.
      // sendmsg(2), as far as this process may look.
      const call = process.getuid?.() === 0 ? /^(46|211) / : /^/;
      await eventually(() => expect(readFileSync(`/proc/${child.pid}/syscall`, 'utf8')).toMatch(call));
      await eventually(() => expect(status(child.pid!)).toMatch(/^State:\s+S/m));
      socket.destroy();
      await ended;
      expect(gone(child.pid!)).toBe(true);
    });
  });

  describe('a tender that lies', () => {
    const liar = (name: string, script: string): string => {
      const path = join(folder, name);
      writeFileSync(path, `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`);
      chmodSync(path, 0o755);
      return path;
    };

    test.each([
      [
        'a descriptor of something else',
        "exec 5<>/dev/null 6</dev/null; { printf '\\024\\000\\000\\000\\001\\000\\000\\000\\002\\000\\000\\000\\005\\000\\000\\000\\006'; head -c 7 /dev/zero; } >&3",
      ],
      ['text', "printf 'hello there, broker' >&3"],
      ['a length of 4 GiB', "printf '\\377\\377\\377\\377\\005\\000\\000\\000' >&3"],
      ['a length of zero', "printf '\\000\\000\\000\\000' >&3"],
      ['an outcome out of turn', "{ printf '\\124\\000\\000\\000\\005\\000\\000\\000'; head -c 80 /dev/zero; } >&3"],
      [
        'twice that it is blank',
        "printf '\\004\\000\\000\\000\\006\\000\\000\\000\\004\\000\\000\\000\\006\\000\\000\\000' >&3",
      ],
      ['another wire version', "{ printf '\\024\\000\\000\\000\\001\\000\\000\\000\\143'; head -c 15 /dev/zero; } >&3"],
      [
        'a descriptor that it has not',
        "{ printf '\\024\\000\\000\\000\\001\\000\\000\\000\\002\\000\\000\\000\\143'; head -c 11 /dev/zero; } >&3",
      ],
    ])('sends %s, and is unavailable', async (what, script) => {
      const tender = tenders.make(
        guestImage('hello'),
        liar(`liar-${what.replaceAll(' ', '-')}`, `${script}; exec sleep 60`),
      );
      await expect(tender.start()).rejects.toMatchObject({ code: 8002 });
      await eventually(() => expect(tender.state).toBe('Dead'));
    });

    test('ends without a word, and is unavailable with what it said on standard error', async () => {
      const tender = tenders.make(guestImage('hello'), liar('mute', 'echo "no kernel for me" >&2; exit 7'));
      await expect(tender.start()).rejects.toMatchObject({
        code: 8002,
        message: expect.stringMatching(/exit code 7: no kernel for me/),
      });
    });

    test('is not there at all', async () => {
      const tender = tenders.make(guestImage('hello'), join(folder, 'nothing'));
      await expect(tender.start()).rejects.toMatchObject({ code: 8002, message: expect.stringContaining('ENOENT') });
    });
  });
});
