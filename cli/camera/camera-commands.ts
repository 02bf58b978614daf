import { type Command, Option } from 'commander';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { type ApiOptions, connectObu, type ObuClient, withApi } from '../lib/obu-client.ts';

/** A camera that was closed is opened first, which takes a network camera its time. */
const SNAPSHOT_MS = 30_000;
/** Whoever waits for longer than this wants to know what for. */
const LOOK_MS = 1500;

/** `kerb camera`. */
export function registerCameraCommands(program: Command): void {
  const camera = program.command('camera').description('the cameras of a running OBU');
  withApi(camera.command('snapshot <camera>').description('the next picture of a camera, as a JPEG file'))
    .addOption(
      new Option('-o, --output <file>', 'file to write; - for standard output').default('-', 'standard output'),
    )
    .action(async (name: string, { output, ...api }: ApiOptions & { output: string }) => {
      if (output === '-' && process.stdout.isTTY) {
        throw new KerbError(ErrorCode.BadConfig, 'refusing to write JPEG data to a terminal; use --output FILE');
      }
      const path = `/v1/cameras/${encodeURIComponent(name)}/snapshot`;
      const obu = await connectObu(api);
      const done = new AbortController();
      const waiting = sayWhatIsWaitedFor(obu, name, done.signal);
      const picture = await obu.bytes(path, { timeoutMs: SNAPSHOT_MS }).finally(() => done.abort());
      await waiting;
      if (output === '-') process.stdout.write(picture);
      else await writeWhole(output, picture);
    });
}

/** On standard error, each time it is something else, until the signal fires. */
async function sayWhatIsWaitedFor(obu: ObuClient, name: string, signal: AbortSignal): Promise<void> {
  let said = '';
  while (await pause(LOOK_MS, signal)) {
    const status = await obu.status().catch(() => undefined);
    const camera = status?.cameras.find((one) => one.name === name);
    if (signal.aborted || camera === undefined) return;
    const { state, reason } = camera;
    // How long it takes still is in the reason, and is something else each time.
    const what = `${state}${reason === '' ? '' : `: ${reason.replace(/; asked again in .*$/, '')}`}`;
    if (what === said) continue;
    said = what;
    process.stderr.write(`waiting for camera ${name}, which is ${state}${reason === '' ? '' : `: ${reason}`}\n`);
  }
}

/** The whole file or none: a picture that was there is not lost to half of a new one. */
async function writeWhole(file: string, bytes: Buffer): Promise<void> {
  try {
    await writeFileAtomically(file, bytes, { mode: 0o600 });
  } catch (error) {
    throw new KerbError(ErrorCode.BadConfig, `${file} cannot be written: ${messageOf(error)}`, { file });
  }
}
