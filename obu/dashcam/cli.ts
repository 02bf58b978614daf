import { open, rename, rm } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { callControl } from '../../shared/api/control-client.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/errors.ts';

/** A camera that was closed is opened first, which takes a network camera its time. */
const SNAPSHOT_MS = 30_000;

/** `kerb camera`. */
export function registerCameraCommands(program: Command, api: () => Option): void {
  const camera = program.command('camera').description('the cameras of a running OBU');
  camera
    .command('snapshot <camera>')
    .description('the next picture of a camera, as a JPEG file')
    .addOption(new Option('-o, --output <file>', 'where to; - for standard output').default('-', 'standard output'))
    .addOption(api())
    .action(async (name: string, { output, api: socket }: { output: string; api: string }) => {
      if (output === '-' && process.stdout.isTTY) {
        throw new KerbError(ErrorCode.BadConfig, 'a picture is nothing for a terminal; name a file with --output');
      }
      const path = `/v1/cameras/${encodeURIComponent(name)}/snapshot`;
      const picture = await callControl(socket, path, { timeoutMs: SNAPSHOT_MS });
      if (output === '-') process.stdout.write(picture);
      else await writeWhole(output, picture);
    });
}

/** The whole file or none: a picture that was there is not lost to half of a new one. */
async function writeWhole(file: string, bytes: Buffer): Promise<void> {
  const part = `${file}.part-${process.pid}`;
  try {
    const handle = await open(part, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
    } finally {
      await handle.close();
    }
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw new KerbError(ErrorCode.BadConfig, `${file} cannot be written: ${messageOf(error)}`, { file });
  }
}
