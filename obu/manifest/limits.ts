/** Keys of a service whose values are small languages of their own: `tmpfs` and `ulimits`. */
import { z } from 'zod';
import { size } from '../../shared/yaml/quantities.ts';
import { type Refusal, refuse, value } from '../../shared/yaml/value.ts';
import { absolutePathFault, eachOf, sortedRecord } from './values.ts';
import type { Ulimit } from './workload.ts';

/** Folders that are something else in every container. */
const takenPaths = /^\/(?:$|(?:proc|sys|dev)(?:\/|$)|(?:data|run\/kerbside)$)/;
const DEFAULT_TMPFS_SIZE = 64 * 1024 * 1024;
const tmpfsLimit = size(4096, 'must be at least 4k');

export const tmpfs = value<Readonly<Record<string, string>>>(
  {
    anyOf: [
      { type: 'string', pattern: '^/' },
      { type: 'array', items: { type: 'string', pattern: '^/' } },
    ],
  },
  (raw) => {
    const list = eachOf(typeof raw === 'string' ? [raw] : raw, 'paths', parseTmpfs);
    if (!Array.isArray(list)) return list;
    const twice = list.find(([path], i) => list.findIndex(([other]) => other === path) < i);
    return twice === undefined ? sortedRecord(list) : refuse(`${twice[0]} is there twice`);
  },
);

/** "PATH" or "PATH:size=16m,mode=1777" → path and the options that the kernel takes. */
function parseTmpfs(raw: unknown): readonly [string, string] | Refusal {
  if (typeof raw !== 'string') return refuse('must be a path, such as /var/cache or /var/cache:size=16m,mode=0700');
  const colon = raw.indexOf(':');
  const path = colon === -1 ? raw : raw.slice(0, colon);
  const fault = path === '/' ? undefined : absolutePathFault(path);
  if (fault !== undefined) return refuse(fault);
  if (takenPaths.test(path)) return refuse(`${path} is something else in a container; choose another folder`);
  const options = new Map<string, string>([
    ['size', String(DEFAULT_TMPFS_SIZE)],
    ['mode', '1777'],
  ]);
  for (const option of colon === -1 ? [] : raw.slice(colon + 1).split(',')) {
    const [name = '', text = ''] = option.split('=', 2);
    if (name === 'size') {
      const bytes = tmpfsLimit.safeParse(text);
      if (!bytes.success) return refuse(`size ${bytes.error.issues[0]!.message}`);
      options.set(name, String(bytes.data));
    } else if (name === 'mode' && /^0?[0-7]{3,4}$/.test(text)) options.set(name, text.replace(/^0(?=\d{4}$)/, ''));
    else if ((name === 'uid' || name === 'gid') && /^\d{1,10}$/.test(text)) options.set(name, text);
    else
      return refuse(`"${option}" is not a valid option of tmpfs: it must be like size=16m, mode=1777, uid=N or gid=N`);
  }
  return [
    path,
    Object.entries(sortedRecord(options))
      .map(([name, text]) => `${name}=${text}`)
      .join(','),
  ];
}

export const ulimitNames = ['core', 'fsize', 'locks', 'memlock', 'msgqueue', 'nofile', 'nproc', 'sigpending', 'stack'];
const ulimitNumber = { type: 'integer', minimum: -1 };

export const ulimits = value<Readonly<Record<string, Ulimit>>>(
  {
    type: 'object',
    propertyNames: { enum: ulimitNames },
    additionalProperties: {
      anyOf: [
        ulimitNumber,
        {
          type: 'object',
          properties: { soft: ulimitNumber, hard: ulimitNumber },
          required: ['soft', 'hard'],
          additionalProperties: false,
        },
      ],
    },
  },
  (raw) => {
    if (raw === null || typeof raw !== 'object' || Array.isArray(raw))
      return refuse('must be a map from limit to number');
    const result = new Map<string, Ulimit>();
    for (const [name, item] of Object.entries(raw as Record<string, unknown>)) {
      if (!ulimitNames.includes(name)) {
        const outranks = ['rtprio', 'nice', 'rttime'].includes(name);
        const advice = outranks
          ? 'what comes first is said by `x-obu.priority`'
          : `there are ${ulimitNames.join(', ')}`;
        return refuse(`no workload may set this limit; ${advice}`, name);
      }
      const limit = typeof item === 'number' ? { soft: item, hard: item } : item;
      const parsed = ulimitShape.safeParse(limit);
      if (!parsed.success) return refuse('must be a number, or { soft: N, hard: N }; -1 stands for unlimited', name);
      const { soft, hard } = parsed.data;
      if (hard !== -1 && (soft === -1 || soft > hard)) return refuse('soft must not be above hard', name);
      result.set(name, { soft, hard });
    }
    return sortedRecord(result);
  },
);
const ulimitShape = z.strictObject({ soft: z.number().int().min(-1), hard: z.number().int().min(-1) });
