import { MessageChannel } from 'node:worker_threads';
import { serveResults } from '../../../broker/results/store-thread.ts';
import { serveState } from '../../../broker/state/state-thread.ts';
import type { Thread } from '../../../broker/storage/database-thread.ts';

const SOURCES = [
  { path: '/broker/results/store-thread.ts', serve: serveResults },
  { path: '/broker/state/state-thread.ts', serve: serveState },
];

/**
 * In the place of the threads of databases: the same sources and the same messages, in this thread. Starting a thread takes
 * most of the processor time that starting a broker takes, and a test file starts a hundred of them.
 */
export function noThread(script: URL, workerData: unknown): Thread {
  const { port1: near, port2: far } = new MessageChannel();
  const source = SOURCES.find(({ path }) => script.pathname.endsWith(path));
  if (source === undefined) throw new Error(`${script.href} is not a thread that can be served here`);
  source.serve(far, workerData as Parameters<typeof serveState>[1]);
  // A thread of its own would not keep this one running either.
  far.unref();
  return {
    postMessage: (...args: Parameters<typeof near.postMessage>) => near.postMessage(...args),
    on(event: string, listener: (value?: never) => void) {
      near.on(event === 'exit' ? 'close' : event, listener as () => void);
      return this;
    },
    unref: () => near.unref(),
    terminate: async () => {
      near.close();
      return 0;
    },
  } as Thread;
}
