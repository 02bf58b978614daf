import { readFile, stat } from 'node:fs/promises';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';

/**
 * The input of a task: a file, `-` for standard input, undefined for an empty one.
 * @param limit bytes; what is longer is not read to its end
 * @throws KerbError BadConfig | InputTooLarge
 */
export async function readInput(path: string | undefined, limit = Number.POSITIVE_INFINITY): Promise<Buffer> {
  if (path === undefined) return Buffer.alloc(0);
  try {
    if (path === '-') return await readStandardInput(limit);
    const { size } = await stat(path);
    if (size > limit) throw tooLarge(path, size, limit);
    const bytes = await readFile(path);
    if (bytes.length > limit) throw tooLarge(path, bytes.length, limit);
    return bytes;
  } catch (cause) {
    if (cause instanceof KerbError) throw cause;
    throw new KerbError(
      ErrorCode.BadConfig,
      `the input ${path} cannot be read: ${readFault(cause)}`,
      { path },
      { cause },
    );
  }
}

async function readStandardInput(limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge('-', size, limit);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(path: string, size: number, limit: number): KerbError {
  const message = `the input ${path} has ${size} bytes or more, and the task takes at most ${limit}`;
  return new KerbError(ErrorCode.InputTooLarge, message, { path, limit });
}
