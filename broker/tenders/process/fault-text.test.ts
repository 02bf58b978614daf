import { expect, test } from 'vitest';
import { abortText, type Fault, faultText } from './fault-text.ts';

const fault = (change: Partial<Fault>): string =>
  faultText({ signal: 11, signalCode: 1, status: 0, faultAddress: 0x5000n, instruction: 0x100123n, ...change });

test.each<[Partial<Fault>, string]>([
  [{}, 'SIGSEGV: access to unmapped address 0x5000, instruction at 0x100123'],
  [{ faultAddress: 8n }, 'SIGSEGV: null pointer: access to 0x8, instruction at 0x100123'],
  [{ faultAddress: 0x20000ff8n }, 'SIGSEGV: stack overflow: guard page at 0x20000ff8, instruction at 0x100123'],
  [{ faultAddress: 0x20001000n }, 'SIGSEGV: access to unmapped address 0x20001000, instruction at 0x100123'],
  [{ signalCode: 0 }, 'SIGSEGV: memory fault, and no stack left to report it on'],
  [{ signal: 8 }, 'SIGFPE: integer division by zero, instruction at 0x100123'],
  [{ signal: 8, signalCode: 99 }, 'SIGFPE: arithmetic fault, instruction at 0x100123'],
  [{ signal: 31, signalCode: 0 }, 'SIGSYS: forbidden system call'],
  [{ signal: 31, faultAddress: 41n }, 'SIGSYS: forbidden system call 41, instruction at 0x100123'],
  [{ signal: 31, faultAddress: 2n ** 64n - 1n }, 'SIGSYS: forbidden system call -1, instruction at 0x100123'],
  [
    { signal: 31, status: 1, faultAddress: 20n },
    'SIGSYS: forbidden system call 20 of the 32-bit table, instruction at 0x100123',
  ],
  [
    { signal: 31, status: 0x80060000, faultAddress: 231n },
    'SIGSYS: forbidden system call 231, instruction at 0x100123, #UD',
  ],
  [
    { signal: 31, status: 0x800d0402, faultAddress: 20n },
    'SIGSYS: forbidden system call 20 of the 32-bit table, instruction at 0x100123, #GP(0x402)',
  ],
  [{ signal: 0, status: 3 }, 'ended with exit code 3 without ringing a doorbell'],
  [{ signal: 77, signalCode: 0 }, 'signal 77: ended by a signal'],
])('%o', (change, text) => {
  expect(fault(change)).toBe(text);
});

test('a write to a page that does not allow it, and a general protection fault, are told apart', () => {
  expect(fault({ signalCode: 2 })).toMatch(/its page does not allow/);
  expect(fault({ signalCode: 128 })).toMatch(/privileged instruction/);
});

test('the syndrome of arm64 is named', () => {
  expect(fault({ status: 0x40240046 })).toMatch(/instruction at 0x100123, data abort\(0x46\)$/);
  expect(fault({ status: 0x40200007 })).toMatch(/, instruction abort\(0x7\)$/);
  expect(fault({ status: 0x40010000 })).toMatch(/, class 0x1\(0x0\)$/);
});

test('abort codes of the libOS have words, those of a task are numbers', () => {
  expect(abortText(0xffff0002)).toBe('an assertion failed');
  expect(abortText(7)).toBe('the task aborted with code 7');
});
