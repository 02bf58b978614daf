import type { Command } from 'commander';
import type { Engine } from '../../obu/engine/docker-client.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';

export interface EngineOptions extends ApiOptions {
  readonly engine?: string;
}

/** The options that say which engine a command is for. */
export function withEngine(command: Command): Command {
  return withApi(
    command.option('--engine <host>', 'Docker Engine, unix:///PATH (default: that of the OBU, else the one here)'),
  );
}

/** The engine that was named, else that of the OBU that runs, else the one of this machine. */
export async function engineOf({ engine, ...api }: EngineOptions): Promise<Engine> {
  const { reachEngine } = await import('../../obu/engine/docker-client.ts');
  if (engine !== undefined) return reachEngine('external', engine);
  const obu = await connectObu(api);
  obu.mustBeHere('images are made');
  const status = await obu.status().catch(() => undefined); // no OBU runs there
  if (status !== undefined) return reachEngine(status.engine.kind, status.engine.host);
  const [{ findEngine }, { silentLog }] = await Promise.all([
    import('../../obu/engine/find-engine.ts'),
    import('../../shared/base/log.ts'),
  ]);
  const here = await findEngine(silentLog());
  if (here !== undefined) return here;
  throw new KerbError(
    ErrorCode.EngineUnavailable,
    `no Docker Engine: none runs here and no OBU answers at ${api.api}; start the OBU first, or name one with --engine`,
  );
}
