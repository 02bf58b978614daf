import { setFlagsFromString } from 'node:v8';

/**
 * V8 counts buffers against a limit that grows with the heap: at 20 MB of heap, each 20 MB of buffers that pass through are
 * followed by a whole collection of garbage, which takes longer than the offloads between two of them. With this, it lets
 * three times the heap pass before that.
 */
const GROWING_PERCENT = 300;

let isSet = false;

/**
 * To be called before payloads of hundreds of KiB pass through this process. One that never has any stays small. A broker
 * calls it when it starts: none of its vehicles is to change this for the others.
 */
export function expectLargeBuffers(): void {
  if (isSet) return;
  isSet = true;
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`);
}
