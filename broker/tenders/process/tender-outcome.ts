import { faultText } from './fault-text.ts';
import type { TenderOutcome } from './tender.ts';
import { type OutcomeFrame, OutcomeKind } from './tender-frames.ts';

/** What a tender reported, in the words of the `Tender` interface. `maxOutput` is what the image declares, in bytes. */
export function outcomeOf(frame: OutcomeFrame, output: Buffer, maxOutput: number): TenderOutcome {
  const log = frame.log.length === 0 ? '' : readableLog(frame.log);
  const use = { runMs: frame.runNs / 1e6, cpuMs: frame.cpuNs / 1e6, peakMemory: frame.memory, log };
  switch (frame.kind) {
    case OutcomeKind.Done:
      return { outcome: 'done', status: frame.status, output, ...use };
    case OutcomeKind.Aborted:
      return { outcome: 'aborted', code: frame.status, ...use };
    case OutcomeKind.Deadline:
      return { outcome: 'deadline', ...use };
    case OutcomeKind.Fault:
      return { outcome: 'fault', fault: faultText(frame), ...use };
    default: {
      const reason =
        frame.outputSize > maxOutput
          ? `claims ${frame.outputSize} bytes of output, ${maxOutput} are declared`
          : `returned status ${frame.status | 0}, 0 to 2147483647 are allowed`;
      return { outcome: 'bad-output', reason, ...use };
    }
  }
}

/** The guest's bytes as text that a terminal may be shown: no control characters but newline and tab. */
function readableLog(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}
