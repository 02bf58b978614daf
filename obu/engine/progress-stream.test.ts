import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { EngineStreamError, readProgress } from './progress-stream.ts';

/** Reads an answer that comes in these pieces. */
async function read(...chunks: (string | Buffer)[]): Promise<unknown[]> {
  const messages: unknown[] = [];
  await readProgress(Readable.from(chunks), (message) => messages.push(message));
  return messages;
}

describe('an answer of the engine', () => {
  it('is read message by message, however it is cut', async () => {
    const text = '{"stream":"Step 1/2 : FROM scratch\\n"}\r\n{"status":"é"}\n\n{"aux":{"ID":"sha256:1"}}';
    const bytes = Buffer.from(text);
    const wanted = [{ stream: 'Step 1/2 : FROM scratch\n' }, { status: 'é' }, { aux: { ID: 'sha256:1' } }];
    expect(await read(text)).toEqual(wanted);
    expect(await read(...Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(wanted);
    expect(await read()).toEqual([]);
  });

  it.each<[string, string]>([
    [
      '{"error":"no space left on device","errorDetail":{"message":"no space left on device"}}',
      'no space left on device',
    ],
    ['{"errorDetail":{"code":1,"message":"COPY failed:\\n no such file"}}', 'COPY failed: no such file'],
    ['{"error":"only this"}', 'only this'],
    ['{"error":""}', 'it failed and did not say why'],
    ['{"errorDetail":null,"error":null}', 'it failed and did not say why'],
    ['{"stream":"half', 'its answer broke off in the middle'],
    ['<html>', 'its answer broke off in the middle'],
    ['7', 'it sent something else than messages'],
  ])('%s is an error', async (line, message) => {
    const messages: unknown[] = [];
    const reading = readProgress(Readable.from(['{"stream":"a"}\n', `${line}\n`, '{"stream":"b"}\n']), (one) =>
      messages.push(one),
    );
    await expect(reading).rejects.toThrow(new EngineStreamError(message));
    expect(messages).toEqual([{ stream: 'a' }]);
    await expect(read(line)).rejects.toBeInstanceOf(EngineStreamError);
  });

  it('that never ends a message is not kept', async () => {
    const endless = Readable.from(
      (function* () {
        for (;;) yield 'x'.repeat(65_536);
      })(),
    );
    await expect(readProgress(endless)).rejects.toThrow(/does not end/);
    expect(endless.destroyed).toBe(true);
  });

  it('whose connection breaks is an error', async () => {
    const broken = new Readable({ read() {} });
    broken.push('{"stream":"a"}\n');
    setImmediate(() => broken.destroy(new Error('socket hang up')));
    await expect(readProgress(broken)).rejects.toThrow('socket hang up');
  });
});
