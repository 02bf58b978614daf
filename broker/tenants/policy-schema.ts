/** Every key of the policy file: what it takes, and a sentence about it. Parser, JSON schema and reference are made of it. */
import { z } from 'zod';
import { isTenant } from '../../shared/identity/identity.ts';
import { SERVICE_CLASSES } from '../../shared/protocol/service-class.ts';
import { isDigest } from '../../shared/task-package/format.ts';
import { count, duration, size } from '../../shared/yaml/quantities.ts';
import { key, mapIn, refuse, value } from '../../shared/yaml/value.ts';
import { NEIGHBOUR_RIGHTS } from './policy.ts';

const DAY_MS = 86_400_000;
const MAX_TENANTS = 10_000;
const MAX_LIST = 1000;

/** The word for no limit. */
const UNLIMITED = 'unlimited';

/** A quantity, or `unlimited`. */
function limit(schema: z.ZodType<number>) {
  const of = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const { $schema: _, ...json } = of;
  return value<number>({ anyOf: [json, { const: UNLIMITED }] }, (raw) => {
    if (raw === UNLIMITED) return Number.POSITIVE_INFINITY;
    const result = schema.safeParse(raw);
    return result.success ? result.data : refuse(`${result.error.issues[0]!.message}, or ${UNLIMITED}`);
  });
}

const oneOf = <const T extends readonly string[]>(words: T) => z.enum(words, `must be one of ${words.join(', ')}`);
const bytes = (least = 1) => limit(size(least, `must be at least ${least} bytes`));
const many = (what: string) => limit(count(1, 1_000_000, what));

const tenant = value<string>({ type: 'string' }, (raw) =>
  typeof raw === 'string' && isTenant(raw)
    ? raw
    : refuse('must be a tenant: the organisation in the certificates of its vehicles'),
);
const id = z
  .string('must be an id')
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'must be an id: 1 to 63 letters, digits, ".", "_" and "-"');
const digest = value<string>({ type: 'string', pattern: '^sha256:[0-9a-f]{64}$' }, (raw) =>
  typeof raw === 'string' && isDigest(raw) ? raw : refuse('must be the digest of a package: sha256: and 64 hex digits'),
);
const signerKey = z
  .string('must be a key: the name of its file without .pem, or its id')
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be a key: the name of its file without .pem, or its id');
const tenantPattern = value<string>({ type: 'string' }, (raw) =>
  typeof raw === 'string' && (raw.includes('*') ? isTenant(raw.replaceAll('*', 'a')) : isTenant(raw))
    ? raw
    : refuse('must be the name of a tenant, where * stands for any characters'),
);
const taskPattern = z
  .string('must be the name of a task, where * stands for any characters')
  .regex(/^[a-z0-9*-]{1,63}$/, 'must be the name of a task, where * stands for any characters');
const list = <T extends z.ZodType>(of: T, what: string) =>
  z.array(of, `must be a list of ${what}`).max(MAX_LIST, `must have at most ${MAX_LIST} entries`);

const cpu = z.strictObject(
  {
    perMinute: limit(duration(10, DAY_MS, '10ms to 24h')).meta({
      description: `computing time that it gets back in each minute, such as 30s for half a processor, or \`${UNLIMITED}\``,
    }),
    burst: key(
      'computing time that it may save up and use at once; as `perMinute` if not given',
      duration(100, DAY_MS, '100ms to 24h'),
    ),
  },
  'must be a map with the key `perMinute`',
);

const results = z.strictObject(
  {
    count: key('results that are kept; 5000 if not given', many('a number of results')),
    bytes: key('their bytes; 32m if not given', bytes()),
    keep: key(
      'the longest that one is kept; a caller that asks for more gets this. 1h if not given',
      duration(0, DAY_MS, '0s to 24h'),
    ),
  },
  'must be a map',
);

const keyPattern = z
  .string('must be the name of a key, where * stands for any characters')
  .regex(/^[\x21-\x7e]{1,128}$/, 'must be the name of a key, without spaces, where * stands for any characters');

const sharedKeys = z.strictObject(
  {
    keys: list(keyPattern, 'keys').min(1, 'is empty').meta({
      description: 'names of keys; `*` stands for any characters',
    }),
    tasks: key(
      'names of the tasks whose keys are meant; every task if not given. Likewise',
      list(taskPattern, 'tasks'),
    ),
    tenants: key(
      'other tenants whose vehicles read and write them; none if not given. Likewise',
      list(tenantPattern, 'tenants'),
    ),
  },
  'must be a map with `keys`',
);

const state = z.strictObject(
  {
    keys: key('keys that it may have; 10000 if not given', many('a number of keys')),
    bytes: key('bytes of their values, and of the outputs that are kept for retries; 32m if not given', bytes()),
    ttl: key(
      'the longest that a value is kept without being written; 168h (a week) if not given',
      duration(1000, 30 * DAY_MS, '1s to 720h'),
    ),
    shared: key(
      'keys that belong to all vehicles of the tenant together; every key belongs to one vehicle if not given',
      list(sharedKeys, 'keys'),
    ),
  },
  'must be a map',
);

const packages = z.strictObject(
  {
    push: key('whether its vehicles may push task packages; `false` if not given', z.boolean('must be true or false')),
    count: key(
      'packages that it may keep; as `--push-packages` if not given',
      limit(count(0, 100_000, 'a number of packages')),
    ),
    bytes: key('their bytes on the disk; as `--push-quota` if not given', bytes(0)),
  },
  'must be a map',
);

const shares = z.strictObject(
  {
    see: key(
      'tenants that may ask what its packages are, and are told why they may not run them; `*` stands for any characters',
      list(tenantPattern, 'tenants'),
    ),
    run: key('tenants that run them and find them in the announcement; likewise', list(tenantPattern, 'tenants')),
  },
  'must be a map with `see` and `run`',
);

export const tenantSchema = z.strictObject(
  {
    weight: key(
      'its share of the tenders, against the other tenants that have offloads of the same class waiting; 1 if not given',
      z.number('must be a number').min(0.01, 'must be at least 0.01').max(1000, 'must be at most 1000'),
    ),
    highestClass: key(
      '`safety`, `high`, `normal` (if not given) or `idle`: a more urgent offload is run in this class',
      oneOf(SERVICE_CLASSES),
    ),
    offloads: key(
      'offloads that wait or run; `--max-queue-per-tenant` and `--max-tenders` together if not given',
      many('a number of offloads'),
    ),
    running: key(
      'offloads that run at the same time; one less than a task has tenders if not given',
      many('a number of offloads'),
    ),
    largestBudget: key(
      'the largest budget of one offload, and the longest run; if not given, 1h and 1m',
      limit(duration(1, 3_600_000, '1ms to 1h')),
    ),
    cpu: key('computing time of its tasks; no limit if not given', cpu),
    memory: key(
      'what its running tenders may hold together, as their packages declare; no limit if not given',
      bytes(),
    ),
    bytes: key('input of its offloads that wait or run; as `--max-queue-bytes` if not given', bytes()),
    results: key('results that are kept for its vehicles while they are away', results),
    state: key('the state of sessions that is kept for its vehicles', state),
    packages: key('task packages that its vehicles push', packages),
    connections: key(
      'connections of its vehicles; three quarters of what the broker takes if not given',
      many('a number of connections'),
    ),
    connectionsPerVehicle: key('connections of one vehicle; 16 if not given', many('a number of connections')),
    requestsPerSecond: key(
      'requests of all kinds in a second; 5000 for each processor if not given',
      many('a number of requests'),
    ),
    unread: key('bytes of answers that its vehicles have not read yet; 32m if not given', bytes(1024)),
    isolation: key(
      '`any` (if not given), or `vm`: whatever it offloads is run in a virtual machine or not at all',
      oneOf(['any', 'vm']),
    ),
    shares: key('other tenants that may use the packages that it pushed; none if not given', shares),
  },
  'must be a map',
);

const leastShare = z.number('must be percent, a number').min(0, 'must be at least 0').max(90, 'must be at most 90');
const classes = z.strictObject(
  {
    high: key('20 if not given', leastShare),
    normal: key('10 if not given', leastShare),
    idle: key('2 if not given', leastShare),
  },
  'must be a map with `high`, `normal` and `idle`',
);

const signer = z.strictObject(
  {
    key: signerKey.meta({ description: 'file of the public key in `--trust`, without `.pem`, or its id' }),
    tenants: key(
      'tenants that it signs for; every tenant if not given. `*` stands for any characters',
      list(tenantPattern, 'tenants'),
    ),
    tasks: key('names of tasks that it signs; every task if not given. Likewise', list(taskPattern, 'tasks')),
  },
  'must be a map with the key `key`',
);

const revoked = z.strictObject(
  {
    keys: key(
      'keys of task signers, as under `signers`: whatever only they signed is run no more',
      list(signerKey, 'keys'),
    ),
    digests: key('packages that are run no more', list(digest, 'digests')),
  },
  'must be a map with `keys` and `digests`',
);

const neighbour = z.strictObject(
  {
    broker: id.meta({ description: 'id in its certificate' }),
    tenant: tenant.meta({ description: 'for whose vehicles' }),
    may: list(oneOf(NEIGHBOUR_RIGHTS), 'rights')
      .min(1, 'is empty')
      .meta({ description: '`results`, `packages`, `state`, `offer`: what it may ask for' }),
  },
  'must be a map with `broker`, `tenant` and `may`',
);

export const policySchema = z
  .strictObject(
    {
      default: key('what a tenant may that is not listed, and what is not said of one that is', tenantSchema),
      others: key(
        '`accept` (if not given): tenants that are not listed are served as `default` says; or `refuse`',
        oneOf(['accept', 'refuse']),
      ),
      tenants: key(
        'tenants, by the organisation in the certificates of their vehicles',
        z
          .record(z.string(), tenantSchema, 'must be a map of tenants')
          .refine((all) => Object.keys(all).length <= MAX_TENANTS, `must have at most ${MAX_TENANTS} tenants`),
      ),
      classes: key(
        'percent of what can run that a class gets at least, however many more urgent offloads wait',
        classes,
      ),
      signers: key(
        'which keys may sign for whom; every key in `--trust` for every tenant if not given',
        list(signer, 'keys'),
      ),
      revoked: key('what must not be run any more, although it is signed', revoked),
      versions: key(
        '`any` (if not given), or `forward`: a lower version of a task than there was before is not taken',
        oneOf(['any', 'forward']),
      ),
      neighbours: key('what other brokers may ask for; nothing if not given', list(neighbour, 'brokers')),
      operators: key('ids of operators that may use the control API over the network', list(id, 'ids')),
    },
    'must be a map; {} for all defaults',
  )
  .meta({ title: 'Kerbside broker policy' });

export type RawTenant = z.infer<typeof tenantSchema>;
export type RawPolicy = z.infer<typeof policySchema>;

/** Keys of the schema where a path leads, to guess what a typo meant. */
export function policyKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return Object.keys(mapIn(policySchema, path)?.shape ?? {});
}

/** The policy as JSON schema (draft 2020-12), for editors. It may let through what only the parser can tell. */
export function policyJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(policySchema, { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>;
}
