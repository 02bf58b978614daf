import { faultText } from './fault-text.ts';
import type { TenderOutcome } from './tender.ts';
import { type OutcomeFrame, OutcomeKind } from './tender-frames.ts';

/** What a tender reported, in the words of the `Tender` interface. `maxOutput` is what the image declares, in bytes. */
export function outcomeOf(frame: OutcomeFrame, output: Buffer, maxOutput: number): TenderOutcome {
  const runMs = frame.runNs / 1e6;
  const cpuMs = frame.cpuNs / 1e6;
  const log = frame.log.length === 0 ? '' : readableLog(frame.log);
  switch (frame.kind) {
    case OutcomeKind.Done:
      return { outcome: 'done', status: frame.status, output, runMs, cpuMs, log };
    case OutcomeKind.Aborted:
      return { outcome: 'aborted', code: frame.status, runMs, cpuMs, log };
    case OutcomeKind.Deadline:
      return { outcome: 'deadline', runMs, cpuMs, log };
    case OutcomeKind.Fault:
      return { outcome: 'fault', fault: faultText(frame), runMs, cpuMs, log };
    default: {
      const reason =
        frame.outputSize > maxOutput
          ? `claims ${frame.outputSize} bytes of output, ${maxOutput} are declared`
          : `returned status ${frame.status | 0}, 0 to 2147483647 are allowed`;
      return { outcome: 'bad-output', reason, runMs, cpuMs, log };
    }
  }
}

/** The guest's bytes as text that a terminal may be shown: no control characters but newline and tab. */
function readableLog(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}
