import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BrokerConfig } from '../../broker/config.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { type ListenAddress, parseListen } from '../../shared/host/listen.ts';
import { parseSize } from '../../shared/text/size.ts';
import { toCount, toDuration } from '../lib/output.ts';

const DEFAULT_AUDIT_SIZE = 64 * 1024 * 1024;
const DEFAULT_AUDIT_KEEP = 5;
const DEFAULT_DRAIN_MS = 5000;

/** Options of `kerb broker serve` about operating it. */
export interface ServiceOptions {
  readonly apiListen?: ListenAddress;
  readonly apiOperators?: readonly string[];
  readonly audit?: string;
  readonly auditSize: number;
  readonly auditKeep: number;
  readonly auditHashInputs?: boolean;
  readonly storageKey?: string;
  readonly drainFor: number;
  readonly drainTo?: readonly string[];
}

export function withServiceOptions(serve: Command): Command {
  return serve
    .addOption(
      new Option(
        '--api-listen <host:port>',
        'serve the control API over TLS as well, with the identity of the broker',
      ).argParser(toListen),
    )
    .option('--api-operators <ids>', 'operators who may use it, like "alice,bob" (kerb pki operator)', toIds)
    .option('--audit <file>', 'write who ran what to this file, one line of JSON each')
    .addOption(
      new Option('--audit-size <size>', 'rotate it when it is longer')
        .default(DEFAULT_AUDIT_SIZE, '64m')
        .argParser(toSize),
    )
    .option('--audit-keep <n>', 'how many older files to keep: FILE.1 and so on', toCount, DEFAULT_AUDIT_KEEP)
    .option('--audit-hash-inputs', 'write the SHA-256 of each input as well')
    .option('--storage-key <file>', 'encrypt state and kept results on the disk with the first key in this file')
    .addOption(
      new Option('--drain-for <time>', 'how long what runs may take after SIGTERM; a second SIGTERM ends it at once')
        .default(DEFAULT_DRAIN_MS, '5s')
        .argParser(toDuration),
    )
    .option('--drain-to <ids>', 'ids or addresses of brokers that vehicles are sent to when this one stops', toIds);
}

/** @throws KerbError BadConfig when options do not fit together */
export function serviceConfig(
  options: ServiceOptions,
): Pick<BrokerConfig, 'api' | 'audit' | 'drainTo' | 'storageKeyFile'> {
  const { apiListen, apiOperators, audit, auditSize, auditKeep, auditHashInputs = false, drainTo } = options;
  if (apiListen === undefined && apiOperators !== undefined) {
    throw new KerbError(ErrorCode.BadConfig, '--api-operators needs --api-listen HOST:PORT');
  }
  if (audit === undefined && auditHashInputs) {
    throw new KerbError(ErrorCode.BadConfig, '--audit-hash-inputs needs --audit FILE');
  }
  return {
    ...(apiListen && { api: { listen: apiListen, operators: apiOperators ?? [] } }),
    ...(audit !== undefined && {
      audit: { file: audit, maxBytes: auditSize, keep: auditKeep, hashInputs: auditHashInputs },
    }),
    ...(drainTo && { drainTo }),
    ...(options.storageKey !== undefined && { storageKeyFile: options.storageKey }),
  };
}

export function toListen(text: string): ListenAddress {
  const address = parseListen(text);
  if (address === undefined) throw new InvalidArgumentError('write it like 127.0.0.1:7443 or [::1]:7443');
  return address;
}

function toSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined || bytes < 1) throw new InvalidArgumentError('write it like 512m or 1.5g');
  return bytes;
}

function toIds(text: string): readonly string[] {
  const ids = text.split(',').map((one) => one.trim());
  if (ids.every((one) => /^[\x21-\x7e]{1,256}$/.test(one))) return ids;
  throw new InvalidArgumentError('write them like "one,two", without spaces in them');
}
