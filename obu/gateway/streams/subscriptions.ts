/** What a container's request for frames or pictures becomes: a stream, and the way to join it to its source. */
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { type CanFilter, parseFilter } from '../../../shared/can/filter.ts';
import type { kerbside } from '../../../shared/protocol/generated/gateway.js';
import type { GrantGuard } from '../../grants/grants.ts';
import type { Stream } from './outbox.ts';
import { CameraStream, CanStream } from './streams.ts';
import { formatOf } from './wire.ts';

const MAX_FILTERS = 512;

export interface StreamOfGrant {
  readonly stream: Stream;
  /** Asks the guard and joins the stream to its source. @throws KerbError when it is not granted */
  readonly subscribe: () => () => void;
}

export interface SubscriptionMeter {
  canDropped(workload: string): void;
  pictureDropped(workload: string): void;
}

interface Parts {
  readonly guard: GrantGuard;
  readonly meter: SubscriptionMeter;
}

/**
 * @param owner whose own frames it does not get back
 * @throws KerbError TooManyRequests
 */
export function canSubscription(
  request: number,
  ask: kerbside.gateway.v1.SubscribeCan.$Properties,
  { guard, meter }: Parts,
  wake: (stream: Stream) => void,
  owner: object,
): StreamOfGrant {
  const texts = ask.filters ?? [];
  if (texts.length > MAX_FILTERS) {
    const message = `${texts.length} filters in one subscription; the limit is ${MAX_FILTERS}`;
    throw new KerbError(ErrorCode.TooManyRequests, message);
  }
  const bus = ask.bus ?? '';
  const { name } = guard.workload;
  const stream = new CanStream(request, bus, wake, () => meter.canDropped(name));
  let filters: readonly CanFilter[] | undefined;
  const subscribe = () => {
    // What is not granted is refused before anything else is said of it.
    const { router, granted } = guard.can(bus);
    filters ??= texts.map(parseFilter);
    const ends = [router.subscribe(filters, granted, stream.push, owner), router.bus.onState(stream.stateChanged)];
    if (router.bus.state.state !== 'Up') stream.stateChanged(router.bus.state);
    return () => {
      for (const end of ends) end();
    };
  };
  return { stream, subscribe };
}

/** @throws KerbError BadCameraWish */
export function cameraSubscription(
  request: number,
  ask: kerbside.gateway.v1.SubscribeCamera.$Properties,
  { guard, meter }: Parts,
  wake: (stream: Stream) => void,
): StreamOfGrant {
  const format = formatOf(ask.format ?? 0);
  if (format === undefined) {
    throw new KerbError(ErrorCode.BadCameraWish, `this OBU does not know picture format ${ask.format}`);
  }
  const wanted = ask.fps ?? 0;
  if (!(wanted >= 0)) {
    const message = 'pictures per second are a number above 0, or 0 for as many as granted';
    throw new KerbError(ErrorCode.BadCameraWish, message);
  }
  const { name } = guard.workload;
  const stream = new CameraStream(request, wake, () => meter.pictureDropped(name));
  const subscribe = () => {
    const { camera, fps } = guard.camera(ask.camera ?? '', wanted);
    return camera.subscribe({ format, width: ask.width ?? 0, height: ask.height ?? 0, fps }, stream.push);
  };
  return { stream, subscribe };
}
