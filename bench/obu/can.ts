import { setTimeout as sleep } from 'node:timers/promises';
import { CanRouter } from '../../obu/can/router.ts';
import { isKerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { parseFilter } from '../../shared/can/filter.ts';
import { type CanFrame, dataFrame } from '../../shared/can/frame.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { HandBus } from '../../test/support/gateway-parts.ts';
import { type Row, summarise } from '../measure.ts';
import type { Daemon } from '../peers/daemon.ts';
import { END_ID, type ReaderReport } from '../peers/frames.ts';
import type { Say } from '../tenders.ts';
import { ObuRig } from './rig.ts';

const suite = 'obu';
const READERS = [1, 5, 20];
/** Frames per second: a 500 kbit/s bus that is full, five of them, and more than any car has. */
const RATES = [4000, 20_000, 100_000];
const SECONDS = 3;
/** As many ids as a large car has. */
const IDS = 500;

const frames: readonly CanFrame[] = Array.from({ length: IDS }, (_, i) =>
  dataFrame(i + 1, Uint8Array.of(i, i >> 8, 3, 4, 5, 6, 7, 8)),
);

/** The router alone: frames per second of processor time that it hands to 1, 5 and 20 subscribers. */
export async function* routerAlone(say: Say): AsyncGenerator<Row> {
  for (const subscribers of READERS) {
    say(`the router alone, ${subscribers} subscribers`);
    const bus = new HandBus();
    const router = new CanRouter(bus);
    router.start();
    let heard = 0;
    for (let i = 0; i < subscribers; i++) {
      router.subscribe(undefined, [parseFilter('0:0')], () => {
        heard++;
      });
    }
    const [deliver] = bus.listeners;
    const rates: number[] = [];
    const COUNT = 200_000;
    for (let round = 0; round < 12; round++) {
      heard = 0;
      const before = process.cpuUsage();
      for (let i = 0; i < COUNT; i++) deliver!(frames[i % IDS]!);
      const { user, system } = process.cpuUsage(before);
      if (heard !== COUNT * subscribers) throw new Error(`the router lost ${COUNT * subscribers - heard} frames`);
      if (round >= 2) rates.push((COUNT * 1e6) / (user + system));
      await sleep(0);
    }
    yield summarise(
      suite,
      `CAN router alone, ${subscribers} subscriber${subscribers === 1 ? '' : 's'}`,
      'frames/s per core',
      rates,
    );
  }
}

/** From the userspace bus through router and gateway sockets to programs that read with the app SDK. */
export async function* canToReaders(say: Say): AsyncGenerator<Row> {
  for (const readers of READERS) {
    const rig = new ObuRig();
    try {
      say(`CAN, ${readers} readers: starting them`);
      await rig.startBus();
      await rig.startObu(readers);
      const sender = new UserspaceBus({ name: 'can0', socketPath: rig.bus, client: 'sender', log: silentLog() });
      await sender.start();
      try {
        const hello = setInterval(() => sender.send(frames[0]!), 20);
        const programs: Daemon[] = [];
        for (let i = 0; i < readers; i++) {
          programs.push(await rig.startReader('can-reader.ts', i, String(Math.max(...RATES) * SECONDS)));
        }
        clearInterval(hello);
        const end = async () => {
          await sendWithRetry(sender, dataFrame(END_ID, new Uint8Array()));
          const lines = await Promise.all([rig.obu, ...programs].map((program) => program.nextLine()));
          const [obu, ...reports] = lines.map((line) => JSON.parse(line));
          return { obu: obu as ObuReport, reports: reports as ReaderReport[] };
        };
        let before = (await end()).obu;
        // The first one is for warming up.
        for (const [i, rate] of [RATES[1]!, ...RATES].entries()) {
          say(`CAN, ${readers} readers, ${rate} frames/s for ${SECONDS} s`);
          const { sent, seconds } = await sendAtRate(sender, rate, SECONDS);
          const { obu, reports } = await end();
          if (i > 0)
            yield* rowsOf(
              `${readers} reader${readers === 1 ? '' : 's'}, ${rate.toLocaleString('en-US')} frames/s offered`,
              reports,
              {
                sent,
                seconds,
                busLost: obu.lost - before.lost,
                cpuUs: obu.cpuUs - before.cpuUs,
              },
            );
          before = obu;
        }
      } finally {
        await sender.stop();
      }
    } finally {
      await rig.stop();
    }
  }
}

/** Totals since the start of the process. */
interface ObuReport {
  readonly received: number;
  readonly lost: number;
  readonly cpuUs: number;
}

function* rowsOf(
  name: string,
  reports: readonly ReaderReport[],
  run: { readonly sent: number; readonly seconds: number; readonly busLost: number; readonly cpuUs: number },
): Generator<Row> {
  const { sent, seconds, busLost, cpuUs } = run;
  for (const { frames: received, lost } of reports) {
    const missing = sent - busLost - received - lost;
    if (missing !== 0) throw new Error(`${name}: ${missing} of ${sent} frames neither came nor were counted as lost`);
  }
  const latencies = reports.flatMap((report) => report.latencies.map((us) => us / 1000));
  if (latencies.length > 0) yield summarise(suite, `CAN, ${name}: bus to reader`, 'ms', latencies);
  const lost = reports.map((report) => (100 * (report.lost + busLost)) / sent);
  yield summarise(suite, `CAN, ${name}: lost and counted`, '% of frames', lost);
  yield summarise(
    suite,
    `CAN, ${name}: came`,
    'frames/s',
    reports.map((report) => report.frames / seconds),
  );
  yield summarise(suite, `CAN, ${name}: processor of the OBU`, 'us per frame', [cpuUs / sent]);
}

/** Sends at an even rate, as far as bus and machine let it. */
async function sendAtRate(bus: UserspaceBus, rate: number, seconds: number) {
  const beginMs = performance.now();
  let sent = 0;
  let elapsed = 0;
  while (elapsed < seconds) {
    elapsed = (performance.now() - beginMs) / 1000;
    const due = Math.min(Math.floor(Math.min(elapsed, seconds) * rate), sent + 2000);
    try {
      while (sent < due) {
        bus.send(frames[sent % IDS]!);
        sent++;
      }
    } catch (error) {
      if (!isKerbError(error)) throw error; // the bus is full: later
    }
    await sleep(1);
  }
  return { sent, seconds: elapsed };
}

async function sendWithRetry(bus: UserspaceBus, frame: CanFrame): Promise<void> {
  for (;;) {
    try {
      bus.send(frame);
      return;
    } catch (error) {
      if (!isKerbError(error)) throw error;
      await sleep(10);
    }
  }
}
