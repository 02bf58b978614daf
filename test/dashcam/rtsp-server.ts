import { createSocket } from 'node:dgram';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/**
 * A network camera for tests: just enough of RTSP 1.0 (RFC 2326) for one H.264 stream over TCP, with Basic
 * authentication. It passes on the RTP packets that somebody sends to its UDP port.
 */
export interface RtspServer {
  readonly port: number;
  readonly rtpPort: number;
  /** When a user and password were refused, monotonic milliseconds. */
  readonly refusals: readonly number[];
  stop(): Promise<void>;
}

const SDP = [
  'v=0',
  'o=- 0 0 IN IP4 127.0.0.1',
  's=test camera',
  'c=IN IP4 0.0.0.0',
  't=0 0',
  'm=video 0 RTP/AVP 96',
  'a=rtpmap:96 H264/90000',
  'a=fmtp:96 packetization-mode=1',
  'a=control:track1',
  '',
].join('\r\n');

export async function startRtspServer(user: string, password: string): Promise<RtspServer> {
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const sockets = new Set<Socket>();
  const playing = new Set<Socket>();
  const refusals: number[] = [];

  const answer = (socket: Socket, request: string) => {
    const method = request.slice(0, request.indexOf(' '));
    const header = (name: string) => new RegExp(`^${name}: *(.*)$`, 'im').exec(request)?.[1]?.trim();
    const reply = (status: string, lines: string[] = [], body = '') => {
      socket.write([`RTSP/1.0 ${status}`, `CSeq: ${header('CSeq')}`, ...lines, '', body].join('\r\n'));
    };
    if (method === 'OPTIONS') return reply('200 OK', ['Public: DESCRIBE, SETUP, PLAY, TEARDOWN']);
    if (header('Authorization') !== expected) {
      if (header('Authorization') !== undefined) refusals.push(performance.now());
      return reply('401 Unauthorized', ['WWW-Authenticate: Basic realm="test camera"']);
    }
    switch (method) {
      case 'DESCRIBE':
        return reply('200 OK', ['Content-Type: application/sdp', `Content-Length: ${SDP.length}`], SDP);
      case 'SETUP':
        return reply('200 OK', ['Transport: RTP/AVP/TCP;unicast;interleaved=0-1', 'Session: 1']);
      case 'PLAY':
        reply('200 OK', ['Session: 1']);
        playing.add(socket);
        return;
      default:
        return reply('200 OK', ['Session: 1']);
    }
  };

  const server = createServer((socket) => {
    sockets.add(socket);
    let text = '';
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      playing.delete(socket);
    });
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
      for (;;) {
        // Receiver reports come back interleaved: `$`, channel, two bytes of length.
        if (text.startsWith('$')) {
          if (text.length < 4) return;
          const length = 4 + text.charCodeAt(2) * 256 + text.charCodeAt(3);
          if (text.length < length) return;
          text = text.slice(length);
          continue;
        }
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) return;
        answer(socket, text.slice(0, end));
        text = text.slice(end + 4);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const rtp = createSocket('udp4');
  rtp.on('message', (packet) => {
    const head = Buffer.from([0x24, 0, packet.length >> 8, packet.length & 255]);
    for (const socket of playing) socket.write(Buffer.concat([head, packet]));
  });
  await new Promise<void>((resolve) => rtp.bind(0, '127.0.0.1', resolve));

  return {
    port: (server.address() as AddressInfo).port,
    rtpPort: rtp.address().port,
    refusals,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => rtp.close(() => resolve()));
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
