/** The signals of a container as the calls of `kuksa.val.v2` name them: by path, or by a number that stands for it. */
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { kuksa } from '../../../shared/protocol/generated/kuksa.js';
import type { LeafValue, SignalInfo, VehicleSignals } from '../../../shared/vss/signal.ts';
import type { SignalService } from '../services/signal-service.ts';
import { fromWireValue, toMetadata, type WireMetadata, type WireValue } from './values.ts';
import { wildcardMatcher } from './wildcards.ts';

type SignalId = kuksa.val.v2.SignalID.$Properties | null | undefined;

/** Longest path, in characters, as in Kuksa. */
const MAX_PATH = 1000;

export class KuksaSignals {
  readonly service: SignalService;
  #ids: ReadonlyMap<string, number> | undefined;

  constructor(service: SignalService) {
    this.service = service;
  }

  get source(): VehicleSignals {
    return this.service.guard.source;
  }

  /** @throws KerbError UnknownSignal | BadGatewayRequest */
  infoOf(signal: SignalId): SignalInfo {
    const path = signal?.id ? this.pathOf(signal.id) : (signal?.path ?? '');
    if (path === '') throw new KerbError(ErrorCode.BadGatewayRequest, 'the request names no signal');
    checkPath(path);
    const info = this.source.info(path);
    if (info !== undefined) return info;
    throw new KerbError(ErrorCode.UnknownSignal, `this OBU has no signal "${path}"`, { path });
  }

  /** @throws KerbError UnknownSignal */
  pathOf(id: number): string {
    const path = this.source.paths()[id - 1];
    if (path !== undefined) return path;
    throw new KerbError(ErrorCode.UnknownSignal, `this OBU has no signal of number ${id}`, { id });
  }

  /** Numbers are places in the sorted list of all paths, from 1 on: the same as long as the OBU runs. */
  idOf(path: string): number {
    this.#ids ??= new Map(this.source.paths().map((leaf, i) => [leaf, i + 1]));
    return this.#ids.get(path)!;
  }

  /** @throws KerbError UnknownSignal | NotGranted | BadGatewayRequest */
  readable(signal: SignalId): SignalInfo {
    const info = this.infoOf(signal);
    this.service.guard.signal('read', info.path);
    return info;
  }

  /** @throws KerbError UnknownSignal | NotGranted | BadGatewayRequest | BadSignalValue | NotAnActuator | NoActuationProvider */
  target(signal: SignalId, wire: WireValue | null | undefined): { readonly path: string; readonly value: LeafValue } {
    const info = this.infoOf(signal);
    this.service.guard.signal('actuate', info.path);
    const value = fromWireValue(info, wire);
    this.source.checkActuation(info.path, value);
    return { path: info.path, value };
  }

  /**
   * What VSS says of the readable leaves that a root means: a leaf, a branch or a pattern (wildcards.ts).
   * @throws KerbError UnknownSignal | NotGranted | BadGatewayRequest
   */
  metadata(root: string): WireMetadata[] {
    checkPath(root);
    // Whoever asks for everything may have nothing.
    const leaves =
      root === '' || root === '**'
        ? this.service.guard.readable(this.source.paths())
        : [...this.service.leaves([root], wildcardMatcher)];
    return leaves.map((leaf) => toMetadata(this.source.info(leaf)!, this.idOf(leaf)));
  }
}

/** @throws KerbError BadGatewayRequest */
export function checkPath(path: string): void {
  if (path.length <= MAX_PATH) return;
  throw new KerbError(ErrorCode.BadGatewayRequest, `a path of ${path.length} characters; ${MAX_PATH} are the limit`);
}
