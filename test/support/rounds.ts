/**
 * How often something is repeated that is the same each time: seldom in `npm test`, often in `npm run test:long`. What is
 * asserted is the same in both.
 */
export function rounds(short: number, long: number): number {
  return process.env.KERB_TEST_LONG ? long : short;
}
