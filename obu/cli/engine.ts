import { getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { type Engine, reachEngine } from '../engine/docker-client.ts';
import { findEngine } from '../engine/find-engine.ts';

export interface EngineOptions {
  readonly engine?: string;
  readonly api: string;
}

/** The engine that was named, else that of the OBU that runs, else the one of this machine. */
export async function engineOf({ engine, api }: EngineOptions): Promise<Engine> {
  if (engine !== undefined) return reachEngine('external', engine);
  const status = await getStatus<ObuStatus>(api).catch(() => undefined); // no OBU runs there
  if (status !== undefined) return reachEngine(status.engine.kind, status.engine.host);
  const here = await findEngine(silentLog());
  if (here !== undefined) return here;
  throw new KerbError(
    ErrorCode.EngineUnavailable,
    `no Docker Engine: none runs here and no OBU answers at ${api}; start the OBU first, or name one with --engine`,
  );
}
