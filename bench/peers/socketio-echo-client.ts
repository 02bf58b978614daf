/**
 * A closed loop against socketio-echo-server.ts as a process of its own. Prints { count, perSecond } as JSON.
 * Usage: socketio-echo-client.ts PORT IDENTITY_DIR BROKER_ID CONNECTIONS OPEN BYTES MS
 */
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:https';
import { io, type Socket } from 'socket.io-client';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { v2eClientOptions } from '../../shared/protocol/v2e-socket.ts';

const [port, folder = '', brokerId = '', ...numbers] = process.argv.slice(2);
const [connections = 1, open = 1, bytes = 0, ms = 0] = numbers.map(Number);
const identity = await loadIdentity(folder, 'vehicle');
const sockets = await Promise.all(
  Array.from({ length: connections }, async (): Promise<Socket> => {
    const agent = new Agent({ ...identity.clientOptions(brokerId), maxCachedSessions: 0 });
    const socket = io(`https://127.0.0.1:${port}`, v2eClientOptions(agent));
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
      socket.connect();
    });
    return socket;
  }),
);
const input = randomBytes(bytes);
const begin = performance.now();
let count = 0;
await Promise.all(
  Array.from({ length: open }, async (_, i) => {
    const socket = sockets[i % sockets.length]!;
    while (performance.now() < begin + ms) {
      await new Promise((resolve) => socket.emit('echo', input, resolve));
      count++;
    }
  }),
);
console.log(JSON.stringify({ count, perSecond: (count * 1000) / (performance.now() - begin) }));
process.exit(0);
