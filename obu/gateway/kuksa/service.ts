/** The calls of `kuksa.val.v2.VAL` as grpc-js wants them: name, direction, and how messages become bytes. */
import type { MethodDefinition } from '@grpc/grpc-js';
import { kuksa } from '../../../shared/protocol/generated/kuksa.js';

const v2 = kuksa.val.v2;

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

function call<Request, Response>(
  name: string,
  request: Codec<Request>,
  response: Codec<Response>,
  { requestStream = false, responseStream = false } = {},
): MethodDefinition<Request, Response> {
  return {
    path: `/kuksa.val.v2.VAL/${name}`,
    requestStream,
    responseStream,
    requestSerialize: (value) => Buffer.from(request.encode(value).finish()),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: (value) => Buffer.from(response.encode(value).finish()),
    responseDeserialize: (bytes) => response.decode(bytes),
  };
}

const both = { requestStream: true, responseStream: true };

export const valService = {
  GetValue: call('GetValue', v2.GetValueRequest, v2.GetValueResponse),
  GetValues: call('GetValues', v2.GetValuesRequest, v2.GetValuesResponse),
  Subscribe: call('Subscribe', v2.SubscribeRequest, v2.SubscribeResponse, { responseStream: true }),
  SubscribeById: call('SubscribeById', v2.SubscribeByIdRequest, v2.SubscribeByIdResponse, { responseStream: true }),
  Actuate: call('Actuate', v2.ActuateRequest, v2.ActuateResponse),
  ActuateStream: call('ActuateStream', v2.ActuateRequest, v2.ActuateResponse, { requestStream: true }),
  BatchActuate: call('BatchActuate', v2.BatchActuateRequest, v2.BatchActuateResponse),
  ListMetadata: call('ListMetadata', v2.ListMetadataRequest, v2.ListMetadataResponse),
  PublishValue: call('PublishValue', v2.PublishValueRequest, v2.PublishValueResponse),
  OpenProviderStream: call('OpenProviderStream', v2.OpenProviderStreamRequest, v2.OpenProviderStreamResponse, both),
  GetServerInfo: call('GetServerInfo', v2.GetServerInfoRequest, v2.GetServerInfoResponse),
};
