import { z } from 'zod';
import { count, duration } from '../../shared/yaml/quantities.ts';
import { key, refuse, value } from '../../shared/yaml/value.ts';
import type { HealthCheck } from './workload.ts';

const second = 1000;
const hour = 3600 * second;
const healthTimes = (least: number, word: string) => duration(least, hour, `${word} to 1h`);

const healthTest = value<readonly string[]>(
  {
    anyOf: [
      { type: 'string', pattern: '\\S' },
      {
        type: 'array',
        minItems: 1,
        prefixItems: [{ enum: ['CMD', 'CMD-SHELL', 'NONE'] }],
        items: { type: 'string' },
      },
    ],
  },
  (raw) => {
    if (typeof raw === 'string' && raw.trim() !== '') return ['CMD-SHELL', raw];
    if (!Array.isArray(raw) || !raw.every((word) => typeof word === 'string')) {
      return refuse('must be a line for the shell, or a list such as ["CMD", "/health"]');
    }
    const [kind, ...rest] = raw as string[];
    if (kind === 'NONE' && rest.length === 0) return ['NONE'];
    if (kind === 'CMD' && rest.length > 0 && rest[0] !== '') return ['CMD', ...rest];
    if (kind === 'CMD-SHELL' && rest.length === 1 && rest[0]!.trim() !== '') return ['CMD-SHELL', rest[0]!];
    return refuse('must be ["CMD", PROGRAM, …], ["CMD-SHELL", LINE] or ["NONE"]');
  },
);

/** Compose's `healthcheck`. */
export const healthcheck = z
  .strictObject(
    {
      test: key(
        'what is run in the container: a line for `/bin/sh`, `[CMD, PROGRAM, …]`, `[CMD-SHELL, LINE]`',
        healthTest,
      ),
      interval: key('from one check to the next, 30s if not given', healthTimes(100, '100ms')),
      timeout: key('a check that takes longer has failed, 30s if not given', healthTimes(100, '100ms')),
      retries: key('failures in a row that make it unhealthy, 3 if not given', count(1, 1000, 'a number of checks')),
      start_period: key('failures in this time after the start do not count, 0s if not given', healthTimes(0, '0s')),
      disable: key('`true`: the check of the image is not made either', z.boolean('must be true or false')),
    },
    'must be a map with `test`, or `disable: true`',
  )
  .transform((raw, context): HealthCheck => {
    const others = Object.keys(raw).filter((one) => one !== 'disable');
    if (raw.disable === true && others.length > 0) {
      context.addIssue({ code: 'custom', message: 'nothing can stand beside `disable: true`', path: [others[0]!] });
      return z.NEVER;
    }
    const test = raw.disable === true ? ['NONE'] : raw.test;
    if (test === undefined) {
      context.addIssue({ code: 'custom', message: 'must have `test`, or `disable: true`' });
      return z.NEVER;
    }
    return {
      test,
      intervalMs: raw.interval ?? 30 * second,
      timeoutMs: raw.timeout ?? 30 * second,
      retries: raw.retries ?? 3,
      startPeriodMs: raw.start_period ?? 0,
    };
  });
