/** For tests: a program that speaks `kuksa.val.v2`, with grpc-js as its library. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  Metadata,
  makeClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js';
import { valService } from '../../obu/gateway/kuksa/service.ts';

const ValClient = makeClientConstructor(valService, 'VAL');

// biome-ignore lint/suspicious/noExplicitAny: a test looks at what it expects, and fails when it is not there
type Answer = any;

export class TestClient {
  readonly #client: InstanceType<typeof ValClient>;
  readonly #metadata: Metadata;

  /** @param gateway socket of the gateway, which has kuksa.val beside it */
  constructor(gateway: string, token = readFileSync(join(dirname(gateway), 'token'), 'utf8'), options = {}) {
    this.#client = new ValClient(`unix:${join(dirname(gateway), 'kuksa.sock')}`, credentials.createInsecure(), {
      // Each test has a channel of its own, and does not wait long for one that is gone.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': 50,
      ...options,
    });
    this.#metadata = new Metadata();
    if (token !== '') this.#metadata.set('authorization', `Bearer ${token}`);
  }

  get metadata(): Metadata {
    return this.#metadata;
  }

  call(name: keyof typeof valService, request: object): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#client[name]!(request, this.#metadata, (error: ServiceError | null, answer: Answer) => {
        if (error) reject(error);
        else resolve(answer);
      });
    });
  }

  subscribe(request: object, name: 'Subscribe' | 'SubscribeById' = 'Subscribe'): ClientReadableStream<Answer> {
    return this.#client[name]!(request, this.#metadata) as ClientReadableStream<Answer>;
  }

  provide(): ClientDuplexStream<object, Answer> {
    return this.#client.OpenProviderStream!(this.#metadata) as ClientDuplexStream<object, Answer>;
  }

  actuateStream(done: (error: ServiceError | null) => void): ClientWritableStream<object> {
    return this.#client.ActuateStream!(this.#metadata, done) as ClientWritableStream<object>;
  }

  close(): void {
    this.#client.close();
  }
}
