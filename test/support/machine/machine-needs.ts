import { relative } from 'node:path';
import { expect, inject } from 'vitest';
import type { Machine } from './machine.ts';

/** What every machine must have for the tests of a folder; without it they would only wait for one another's time-outs. */
const NEEDS: Record<string, readonly ('tender' | 'engine')[]> = {
  broker: ['tender'],
  docker: ['engine'],
  e2e: ['tender', 'engine'],
  tender: ['tender'],
};

const machine: Machine = inject('machine');
const [folder = ''] = relative(`${import.meta.dirname}/..`, expect.getState().testPath ?? '').split('/');
for (const part of NEEDS[folder] ?? []) {
  const trouble = machine[part];
  if (trouble !== '') throw new Error(`no test of test/${folder} can run here, for want of the ${part}: ${trouble}`);
}
