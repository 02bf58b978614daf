/**
 * `kuksa.val.v2` for one container. Loaded with grpc-js when a program first connects.
 *
 * Every call: UNAUTHENTICATED without the token of this container; NOT_FOUND for a signal that does not exist;
 * PERMISSION_DENIED for one that the grant does not allow; INVALID_ARGUMENT for a request that names nothing, or a path
 * of more than 1000 characters; RESOURCE_EXHAUSTED beyond the limits of a container; INTERNAL for a defect of the OBU.
 */

import type { Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { VERSION } from '../../../shared/base/version.ts';
import { MAX_PLAIN } from '../large-message.ts';
import { type Fields, KuksaCalls, type KuksaServerParts } from './calls.ts';
import { valService } from './service.ts';

/** Calls of one connection at a time, subscriptions among them. */
const MAX_STREAMS = 64;
const MAX_SIGNALS = 4096;

export interface KuksaServer {
  accept(socket: Socket): void;
  /** Ends subscriptions and provider streams with UNAVAILABLE. */
  endStreams(): void;
  stop(): void;
}

export function createKuksaServer(parts: KuksaServerParts): KuksaServer {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_PLAIN,
    'grpc.max_concurrent_streams': MAX_STREAMS,
    'grpc.enable_channelz': 0,
  });
  const calls = new KuksaCalls(parts);
  server.addService(valService, {
    // Answers that the interface knows no more of: the value, or none when it is stale or there never was one.
    GetValue: calls.unary<Fields<'GetValueRequest'>>(({ signalId }) => ({ dataPoint: calls.datapoint(signalId) })),
    GetValues: calls.unary<Fields<'GetValuesRequest'>>(({ signalIds }) => ({
      dataPoints: some(signalIds).map((signal) => calls.datapoint(signal)),
    })),
    Subscribe: calls.subscription<Fields<'SubscribeRequest'>>(
      ({ signalPaths }) => some(signalPaths),
      (path) => path,
    ),
    SubscribeById: calls.subscription<Fields<'SubscribeByIdRequest'>>(
      ({ signalIds }, signals) => some(signalIds).map((id) => signals.pathOf(id)),
      (path, signals) => signals.idOf(path),
    ),
    Actuate: calls.unary<Fields<'ActuateRequest'>>((request) => calls.actuate([request])),
    ActuateStream: calls.actuateStream(),
    BatchActuate: calls.unary<Fields<'BatchActuateRequest'>>(({ actuateRequests }) =>
      calls.actuate(some(actuateRequests)),
    ),
    // NOT_FOUND when nothing is called so, INVALID_ARGUMENT for what is neither a path nor a pattern. Leaves that may not be read are left out.
    ListMetadata: calls.unary<Fields<'ListMetadataRequest'>>(({ root }) => ({
      metadata: calls.signals.metadata(root ?? ''),
    })),
    PublishValue: calls.unary<Fields<'PublishValueRequest'>>((request) => calls.publish(request)),
    OpenProviderStream: calls.providerStream(),
    GetServerInfo: calls.unary(() => ({ name: 'kerbside', version: VERSION, commitHash: '' })),
  });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return {
    accept: (socket) => injector.injectConnection(socket),
    endStreams: () => calls.endStreams('the grants of this workload have changed; ask again'),
    stop: () => {
      calls.endStreams('the OBU ends the gateway of this workload');
      injector.destroy();
      server.forceShutdown();
    },
  };
}

/** @throws KerbError BadGatewayRequest | TooManyRequests */
function some<T>(list: readonly T[] | null | undefined): readonly T[] {
  if (!list || list.length === 0) throw new KerbError(ErrorCode.BadGatewayRequest, 'the request names no signal');
  if (list.length <= MAX_SIGNALS) return list;
  throw new KerbError(ErrorCode.TooManyRequests, `${list.length} signals in one request; the limit is ${MAX_SIGNALS}`);
}
