import { it, type TestAPI } from 'vitest';

/** Whether this is `npm run test:long` and not `npm test`. */
export const isLong = Boolean(process.env.KERB_TEST_LONG);

/**
 * How often something is repeated that is the same each time: seldom in `npm test`, often in `npm run test:long`. What is
 * asserted is the same in both.
 */
export function rounds(short: number, long: number): number {
  return isLong ? long : short;
}

/** Says now and then how far a long form is: one that is cut off has said what it did. @param done how many of all */
export function sayProgress(what: string, done: number, all: number): void {
  if (isLong && done % 50 === 0) console.log(`${what}: ${done} of ${all}`);
}

/**
 * The rows of a table of tests: all of them in `npm run test:long`, and in `npm test` those that stand for the others.
 * @param short how many from the top; they are the ones that stand for the others
 */
export function rows<T>(short: number, all: readonly T[]): readonly T[] {
  return isLong ? all : all.slice(0, short);
}

/**
 * A test of `npm run test:long` alone: what it finds is rare, and others of its file go through the same parts. It is no
 * skipped test in `npm test`, where every skip has a reason of the machine.
 */
export const longIt: TestAPI = isLong ? it : (Object.assign(() => {}, { each: () => () => {} }) as unknown as TestAPI);
