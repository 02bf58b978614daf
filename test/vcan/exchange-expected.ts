import type { Exchange } from './report.ts';

/** Every frame once, wherever it may be. */
export const expected: Exchange = {
  // 3E9 is its own: on a CAN interface other sockets of the same container see what one of them sends.
  some: [
    '123#11',
    '100#22',
    '00000123#44',
    '123#R',
    '101##155',
    ...['3E9#AA', '3E9##1AB', '3EA#AA', '3E9#R'],
    '000003E9#AA',
    '1FE#00',
  ],
  all: [
    ...['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'],
    ...['3E9#AA', '3E9##1AB', '3E9#BB', '1FE#00'],
  ],
  host: [
    ...['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'],
    ...['3E9#AA', '3E9##1AB', '1FE#00'],
  ],
};
