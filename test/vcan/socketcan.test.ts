import { afterAll, describe } from 'vitest';
import { kernelMachineMissing } from '../support/machine/kernel-machine.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import { checkBus } from './bus-checks.ts';
import { CanMachine } from './can-machine.ts';
import { checkDenied } from './denied-checks.ts';
import { checkInterfaces } from './interface-checks.ts';
import { checkLosses } from './loss-checks.ts';

// The real SocketCAN: no machine that tests run on need have it, and one start of a kernel serves all suites.

describeWhere(kernelMachineMissing(), 'SocketCAN (test/vcan)', () => {
  const machine = new CanMachine();
  afterAll(() => machine.stop(), 60_000);

  describe('SocketCAN on vcan', () => checkBus(machine));
  describe('frames that the kernel drops', () => checkLosses(machine));
  describe('a container with a CAN interface', () => checkInterfaces(machine));
  describe('what a container with a CAN interface may not send', () => checkDenied(machine));
});
