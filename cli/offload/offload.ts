import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';

import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';
import { loadTrust } from '../../shared/task-package/signer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { readInput } from '../lib/input.ts';
import { interruptible, print } from '../lib/output.ts';
import { Progress } from '../lib/progress.ts';
import { Load, type LoadConnection } from './load.ts';
import { loadLines } from './load-lines.ts';
import { isLoad, loadDurationMs, type OffloadOptions } from './offload-options.ts';
import { type ChosenTask, parseTask, resolveTask } from './resolve-task.ts';
import { terminalSafe } from './terminal-safe.ts';

const EXIT_FAILED = 1;
const EXIT_INTERRUPTED = 130;
/** The priorities of a manifest, for brokers of version 1. */
const PRIORITIES: Readonly<Record<ServiceClass, number>> = { safety: 1000, high: 750, normal: 500, idle: 0 };
const PROGRESS_MS = 200;

/** All that is the same for each offload of one command. */
interface Attempt {
  readonly options: OffloadOptions;
  readonly task: ChosenTask;
  readonly input: Buffer;
}

/** Runs `kerb offload`: prints what there is, and sets the exit code. */
export async function offload(text: string, options: OffloadOptions): Promise<void> {
  const wanted = parseTask(text);
  const trust = options.trust === undefined ? undefined : await loadTrust(options.trust);
  const identity = await loadIdentity(options.identity, 'vehicle');
  await interruptible(async (signal) => {
    const clients: BrokerClient[] = [];
    try {
      for (let i = 0; i < options.connections; i++) {
        const client = new BrokerClient({ url: options.broker, identity, brokerId: options.id, signal });
        clients.push(client);
        await client.connect();
      }
      const [first] = clients as [BrokerClient];
      const task = await resolveTask(first, wanted, trust);
      checkFeatures(first, options);
      const input = await readInput(options.input, first.maxInputOf(task.digest));
      const attempt = { options, task, input };
      if (isLoad(options)) await many(clients, attempt, signal);
      else await once(first, attempt, signal);
    } catch (error) {
      if (!signal.aborted || !isKerbError(error, ErrorCode.Cancelled)) throw error;
      process.stderr.write('interrupted: there is no result\n');
      process.exitCode = EXIT_INTERRUPTED;
    } finally {
      for (const client of clients) client.close();
    }
  });
}

/** @throws KerbError NotSupported: what was asked for would be left out without a word */
function checkFeatures({ broker, features }: BrokerClient, { keep, durable, receipt, state }: OffloadOptions): void {
  const asked = {
    keep: keep > 0,
    durable: durable === true,
    receipt: receipt !== undefined,
    state: state !== undefined,
  };
  for (const [feature, isAsked] of Object.entries(asked)) {
    if (!isAsked || features.includes(feature)) continue;
    throw new KerbError(
      ErrorCode.NotSupported,
      `broker ${broker} has no feature "${feature}"; leave out --${feature}`,
      {
        broker,
      },
    );
  }
}

async function send(client: BrokerClient, id: string, deadline: Deadline, attempt: Attempt): Promise<BrokerResult> {
  const { options, task, input } = attempt;
  const { class: serviceClass, isolation, keep: keepMs, durable = false, receipt, state: key } = options;
  const state = key === undefined ? undefined : { home: client.broker, key };
  const request = { id, taskDigest: task.digest, input, isolation, deadline, priority: PRIORITIES[serviceClass] };
  return await client.offload(request, { serviceClass, keepMs, durable, wantReceipt: receipt !== undefined, state });
}

async function once(client: BrokerClient, attempt: Attempt, signal: AbortSignal): Promise<void> {
  const { options, task } = attempt;
  const id = options.offloadId ?? `try-${randomBytes(6).toString('hex')}`;
  const progress = new Progress();
  const beganAt = performance.now();
  const cancel = () => client.cancel(id);
  signal.addEventListener('abort', cancel, { once: true });
  const timer = setInterval(() => {
    progress.show(() => `waiting for broker ${client.broker}: ${((performance.now() - beganAt) / 1000).toFixed(0)} s`);
  }, PROGRESS_MS);
  const result = await send(client, id, new Deadline(options.budget), attempt).finally(() => {
    clearInterval(timer);
    progress.end();
    signal.removeEventListener('abort', cancel);
  });
  await writeParts(result, options);
  const { place, isolation, queueMs, startMs, runMs, totalMs, kept, output } = result;
  if (options.o === 'json') {
    const times = { queueMs, startMs, runMs, totalMs };
    const shown = { id, task, broker: client.broker, place, isolation, kept, ...times, outputBytes: output.length };
    print(JSON.stringify(shown, undefined, 2));
    return;
  }
  const times = `queue ${queueMs.toFixed(3)} ms, start ${startMs.toFixed(3)} ms, run ${runMs.toFixed(3)} ms, total ${totalMs.toFixed(3)} ms`;
  const how = kept ? ', from the results that are kept' : '';
  process.stderr.write(`${nameOf(task)} at ${place}, isolation ${isolation}${how}: ${times}, ${output.length} bytes\n`);
}

/** The output and the receipt, where they are to go. With `-o json`, standard output has the report and no output. */
async function writeParts(result: BrokerResult, options: OffloadOptions): Promise<void> {
  await writeReceipt(result, options);
  const { output } = result;
  const { output: file = '-', o } = options;
  if (file !== '-') await writeTo(file, output, 'output');
  else if (o === 'table') process.stdout.write(process.stdout.isTTY ? terminalSafe(output) : output);
}

async function writeReceipt({ receipt }: BrokerResult, { receipt: file }: OffloadOptions): Promise<void> {
  if (file === undefined) return;
  if (receipt !== undefined) return await writeTo(file, receipt, 'receipt');
  throw new KerbError(ErrorCode.BadProtocolMessage, 'the broker answered without the receipt that was asked for');
}

async function writeTo(path: string, bytes: Uint8Array, what: string): Promise<void> {
  await writeFile(path, bytes).catch((cause: unknown) => {
    const message = `cannot write the ${what} to ${path}: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.BadConfig, message, { path }, { cause });
  });
}

async function many(clients: readonly BrokerClient[], attempt: Attempt, signal: AbortSignal): Promise<void> {
  const { options, task, input } = attempt;
  let newest: BrokerResult | undefined;
  const connections = clients.map((client): LoadConnection => {
    return {
      get connected() {
        return client.connected;
      },
      offload: async (id, deadline) => {
        const result = await send(client, id, deadline, attempt);
        newest = result;
        return result;
      },
    };
  });
  const { rate, concurrency = clients.length, budget: budgetMs, offloadId: prefix } = options;
  const count = options.n ?? Number.POSITIVE_INFINITY;
  const durationMs = loadDurationMs(options);
  const load = new Load(connections, { count, durationMs, rate, concurrency, budgetMs, prefix });
  const progress = new Progress();
  const timer = setInterval(() => progress.show(() => load.progress), PROGRESS_MS);
  await load.run(signal).finally(() => {
    clearInterval(timer);
    progress.end();
  });
  if (newest !== undefined) await writeReceipt(newest, options);
  const report = load.report();
  const [first] = clients as [BrokerClient];
  if (options.o === 'json') {
    const what = { task, broker: first.broker, budgetMs, inputBytes: input.length, connections: clients.length };
    print(JSON.stringify({ ...what, ...report }, undefined, 2));
  } else {
    print(`${nameOf(task)} at broker ${first.broker}, ${input.length} bytes of input, budget ${budgetMs} ms`);
    for (const line of loadLines(report)) print(line);
  }
  if (report.interrupted) process.exitCode = EXIT_INTERRUPTED;
  else if (report.answered === 0) process.exitCode = EXIT_FAILED;
}

function nameOf({ digest, name, version, signer }: ChosenTask): string {
  const short = `${digest.slice(0, 19)}…`;
  return `${name} ${version} (${short}${signer === undefined ? '' : `, signed by ${signer}`})`;
}
