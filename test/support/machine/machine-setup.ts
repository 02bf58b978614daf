import type { TestProject } from 'vitest/node';
import { lookAtMachine } from './machine.ts';

/** Runs once, before the first system test: what is found is there for all of them. */
export default async function setup(project: TestProject): Promise<void> {
  project.provide('machine', await lookAtMachine());
}
