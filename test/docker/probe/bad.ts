/** Workloads that nobody wants beside them; the argument says which. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

process.on('SIGTERM', () => process.exit(0));
process.on('uncaughtException', () => {});

/** @param hex what to say at once */
function open(hex = ''): Socket {
  const socket = connect(process.env.KERBSIDE_GATEWAY!);
  socket.on('error', () => {});
  if (hex !== '') socket.write(Buffer.from(hex, 'hex'));
  return socket;
}
const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));

const modes: Record<string, () => Promise<unknown> | unknown> = {
  /** Subscribes to everything with the bytes that it is given, and never reads. */
  'reads-nothing': () => open(process.env.BYTES).pause(),
  /** Holds half of a length for ever, without a Hello. */
  'says-half': () => open('80'),
  async garbage() {
    for (;;) {
      const socket = open();
      // Any first byte but 0 begins a message of at least one byte of nonsense.
      for (let i = 0; i < 20 && !socket.destroyed; i++) socket.write(Buffer.concat([Buffer.of(8), randomBytes(4096)]));
      socket.resume();
      await closed(socket);
      await sleep(200);
    }
  },
  async storms() {
    for (;;) {
      const socket = open();
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
      socket.destroy();
    }
  },
  /** Asks as fast as it can, and reads the answers. */
  async asks() {
    const socket = open(process.env.BYTES);
    socket.resume();
    const asks = Buffer.concat(Array(1000).fill(Buffer.from(process.env.ASK!, 'hex')));
    for (;;) if (!socket.write(asks)) await new Promise((resolve) => socket.once('drain', resolve));
  },
  prints() {
    const line = `${'never again '.repeat(300)}\n`;
    for (;;) writeSync(1, line);
  },
  async 'fills-disk'() {
    const bytes = Buffer.alloc(1024 * 1024, 1);
    for (let i = 0; ; i++) {
      writeFileSync(`/data/${i}`, bytes);
      await sleep(50);
    }
  },
  async forks() {
    for (;;) {
      spawn('/proc/self/exe', ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' }).on('error', () => {});
      await sleep(200);
    }
  },
  async 'eats-memory'() {
    const eaten: Buffer[] = [];
    for (;;) {
      eaten.push(Buffer.alloc(8 * 1024 * 1024, 1));
      await sleep(50);
    }
  },
};

await modes[process.argv[2]!]!();
setInterval(() => {}, 60_000);
