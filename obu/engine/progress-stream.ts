/**
 * Reads the progress stream of the engine (load, build, pull, push): JSON messages, one after the other. It has
 * answered 200 before it knows how that ends, so a failure is one of the messages. This is the only reader of them:
 * dockerode's own (`followProgress`) takes a failure for a message like any other.
 */
import { StringDecoder } from 'node:string_decoder';

/** One message, as far as anybody looks at it. */
export interface EngineProgress {
  readonly stream?: string;
  readonly status?: string;
  readonly aux?: unknown;
}

/** Characters that one message may have; the engine's longest are lines of a build's output. */
const MAX_MESSAGE = 1024 * 1024;

/** The engine's own words for what went wrong, or how its answer broke off. */
export class EngineStreamError extends Error {}

/**
 * Reads such an answer to its end.
 * @throws EngineStreamError when a message says that it failed, when the answer breaks off in a message, or is none
 * @throws errors of the connection
 */
export async function readProgress(
  answer: NodeJS.ReadableStream,
  onMessage: (message: EngineProgress) => void = () => {},
): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of answer as AsyncIterable<Buffer | string>) {
    const lines = (rest + (typeof chunk === 'string' ? chunk : decoder.write(chunk))).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_MESSAGE) throw new EngineStreamError('it sent a message that does not end');
    for (const line of lines) take(line, onMessage);
  }
  // Its last message need not end with a line.
  take(rest + decoder.end(), onMessage);
}

function take(line: string, onMessage: (message: EngineProgress) => void): void {
  if (line.trim() === '') return;
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    throw new EngineStreamError('its answer broke off in the middle');
  }
  if (message === null || typeof message !== 'object')
    throw new EngineStreamError('it sent something else than messages');
  const failure = failureOf(message as Record<string, unknown>);
  if (failure !== undefined) throw new EngineStreamError(failure);
  onMessage(message as EngineProgress);
}

/** `{"error": "…", "errorDetail": {"code": 1, "message": "…"}}`, either of them alone too. */
function failureOf({ error, errorDetail }: Record<string, unknown>): string | undefined {
  if (error === undefined && errorDetail === undefined) return undefined;
  const detail = (errorDetail as { message?: unknown } | null | undefined)?.message;
  for (const text of [detail, error]) {
    if (typeof text === 'string' && text.trim() !== '') return text.replaceAll(/\s+/g, ' ').trim();
  }
  return 'it failed and did not say why';
}
