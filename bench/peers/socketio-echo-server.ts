/**
 * The floor: a socket.io server that sends the bytes back and does nothing else, with the broker's own transport
 * settings and TLS. A process of its own, as the broker is. Prints its port.
 * Usage: socketio-echo-server.ts IDENTITY_DIR common|v2e, the last of which names the parser.
 */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { v2eParser } from '../../shared/protocol/v2e-parser.ts';

const identity = await loadIdentity(process.argv[2]!, 'broker');
const https = createServer(identity.serverOptions());
const io = new Server(https, {
  path: '/v2e',
  transports: ['websocket'],
  ...(process.argv[3] === 'v2e' ? { parser: v2eParser } : {}),
  perMessageDeflate: false,
  serveClient: false,
  maxHttpBufferSize: 16 * 1024 * 1024,
});
io.on('connection', (socket) => socket.on('echo', (bytes: unknown, reply: (bytes: unknown) => void) => reply(bytes)));
https.listen(0, '127.0.0.1', () => console.log((https.address() as AddressInfo).port));
process.stdin.on('end', () => process.exit(0)).resume();
