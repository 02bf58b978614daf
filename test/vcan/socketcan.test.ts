import { afterAll, describe } from 'vitest';
import { kernelMachineMissing } from '../support/machine/kernel-machine.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import { isLong } from '../support/rounds.ts';
import { checkBus } from './bus-checks.ts';
import { CanMachine } from './can-machine.ts';
import { checkDenied } from './denied-checks.ts';
import { checkEngine } from './engine-checks.ts';
import { checkLosses } from './loss-checks.ts';
import { checkNamespaces } from './namespace-checks.ts';

// The real SocketCAN: no machine that tests run on need have it, and one start of a kernel serves all suites. An engine in
// an emulated kernel takes minutes, so that is for `npm run test:long`; what is in the kernel is the same without one.

describeWhere(kernelMachineMissing(), 'SocketCAN (test/vcan)', () => {
  const machine = isLong
    ? new CanMachine(['bus', 'losses', 'engine', 'namespaces', 'denied'], { long: true, timeoutMs: 2_400_000 })
    : new CanMachine(['bus', 'losses', 'namespaces', 'denied'], { long: false, timeoutMs: 900_000 });
  afterAll(() => machine.stop(), 60_000);

  describe('SocketCAN on vcan', () => checkBus(machine));
  describe('frames that the kernel drops', () => checkLosses(machine));
  if (isLong) describe('a container with a CAN interface', () => checkEngine(machine));
  describe('a network namespace with a CAN interface', () => checkNamespaces(machine));
  describe('what a container with a CAN interface may not send', () => checkDenied(machine));
});
