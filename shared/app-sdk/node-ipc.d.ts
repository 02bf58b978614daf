/**
 * The part of node-ipc 14 that Kerbside uses; the package brings no types. An `IPC` has a configuration of its own,
 * unlike the singleton that the package exports as its default.
 */
declare module 'node-ipc' {
  import type { Server as NetServer, Socket } from 'node:net';

  export interface Config {
    id: string;
    silent: boolean;
    /** Chunks go in and out as they are, without node-ipc's own framing. */
    rawBuffer: boolean;
    /** Milliseconds between two attempts to connect. */
    retry: number;
    maxRetries: number;
    maxConnections: number;
    /** Removes a stale socket file before listening. */
    unlink: boolean;
    readableAll: boolean;
    writableAll: boolean;
    logger: (line: string) => void;
  }

  export interface Server {
    readonly server: NetServer | false;
    start(): void;
    /** Destroys every connection and closes the listener. */
    stop(): void;
    /** `event` is the data when `rawBuffer` is set. */
    emit(socket: Socket, event: Uint8Array): boolean;
    on(event: 'start', listener: () => void): this;
    on(event: 'connect' | 'close', listener: (socket: Socket) => void): this;
    on(event: 'data', listener: (data: Buffer, socket: Socket) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
  }

  export interface Client {
    readonly socket: Socket | false;
    emit(data: Uint8Array): boolean;
    on(event: 'connect' | 'disconnect' | 'destroy', listener: () => void): this;
    on(event: 'data', listener: (data: Buffer) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
  }

  export class IPC {
    config: Config;
    readonly server: Server | false;
    readonly of: Record<string, Client>;
    serve(path: string, started?: () => void): void;
    connectTo(id: string, path: string, prepared?: () => void): void;
    disconnect(id: string): void;
  }

  export class IPCModule extends IPC {
    readonly IPC: typeof IPC;
  }

  const singleton: IPCModule;
  export default singleton;
}
