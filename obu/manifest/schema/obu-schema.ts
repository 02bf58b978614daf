import { z } from 'zod';
import { messageOf } from '../../../shared/base/errors.ts';
import { type CanFilter, parseFilter } from '../../../shared/can/filter.ts';
import { PLACE_KINDS } from '../../../shared/protocol/place-kind.ts';
import { type Condition, parseCondition } from '../../../shared/vss/condition.ts';
import { parseScope, type SignalScope } from '../../../shared/vss/scopes.ts';
import { size } from '../../../shared/yaml/quantities.ts';
import { key, refuse, value } from '../../../shared/yaml/value.ts';
import { name, priority } from '../values.ts';

const oneOf = <const T extends readonly string[]>(...words: T) => z.enum(words, `must be one of ${words.join(', ')}`);

const requirement = value<string>(
  { type: 'string', pattern: '^(bus|camera)/[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$' },
  (raw) => {
    const match = typeof raw === 'string' ? /^(bus|camera)\/(.+)$/.exec(raw) : null;
    if (match === null || !name.safeParse(match[2]).success) return refuse('must be camera/NAME or bus/NAME');
    return raw as string;
  },
);

const update = z.strictObject(
  {
    strategy: key(
      '`kill-then-start` (if not given), or `hand-over`: the new container has to be up before the old one is stopped',
      oneOf('kill-then-start', 'hand-over'),
    ),
    rollback: key(
      '`on-unhealthy` (if not given): back to the last image and manifest that were good, or `never`',
      oneOf('on-unhealthy', 'never'),
    ),
    when: key('`now` (if not given), or `parked`: an update waits until the vehicle stands', oneOf('now', 'parked')),
  },
  'must be a map',
);

const scopePattern = '^!?(read|actuate|provide):([A-Za-z][A-Za-z0-9_]*|\\*)(\\.([A-Za-z0-9_]+|\\*))*$';

const scope = value<SignalScope>({ type: 'string', pattern: scopePattern }, (raw) => {
  if (typeof raw !== 'string') return refuse('must be a text such as "read:Vehicle.Speed"');
  try {
    return parseScope(raw);
  } catch (error) {
    return refuse(messageOf(error));
  }
});

const filter = value<CanFilter>(
  { type: 'string', pattern: '^(#[0-9A-Fa-f]{1,8}|[0-9A-Fa-f]{1,8}[:~][0-9A-Fa-f]{1,8})$' },
  (raw) => {
    if (typeof raw !== 'string') return refuse('must be a filter such as "100:700", in quotes');
    try {
      return parseFilter(raw);
    } catch (error) {
      return refuse(messageOf(error));
    }
  },
);

const frameId = value<{ readonly id: number; readonly ext: boolean }>(
  { type: 'string', pattern: '^([0-9A-Fa-f]{1,3}|[0-9A-Fa-f]{8})$' },
  (raw) => {
    if (typeof raw !== 'string') return refuse('must be an id in hex, in quotes: without them YAML reads a number');
    if (!/^([0-9A-Fa-f]{1,3}|[0-9A-Fa-f]{8})$/.test(raw)) {
      return refuse(`"${raw}" is not a valid id: it must be one to three hex digits, or eight for a 29-bit one`);
    }
    const id = Number.parseInt(raw, 16);
    const ext = raw.length === 8;
    if (id > (ext ? 0x1fffffff : 0x7ff)) return refuse(`"${raw}" is above ${ext ? '1FFFFFFF' : '7FF'}`);
    return { id, ext };
  },
);

/** Data bytes that a CAN or CAN FD frame can have (ISO 11898-1:2015, table of DLC values). */
const lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];
const length = z.literal(lengths, `must be one of ${lengths.join(', ')}`);

const rate = value<number>({ type: 'string', pattern: '^\\d{1,6}(\\.\\d+)?/s$' }, (raw) => {
  const match = /^(\d{1,6}(?:\.\d+)?)\/s$/.exec(String(raw));
  const perSecond = Number(match?.[1]);
  return perSecond > 0 ? perSecond : refuse('must be frames per second above 0, such as 10/s or 0.5/s');
});

const canWrite = z.strictObject(
  {
    id: frameId.meta({ ...frameId.meta(), description: 'the id in hex, in quotes; eight digits are a 29-bit id' }),
    len: key('data bytes that it must have; any if not given', length),
    maxRate: key('frames of this id per second, such as `10/s`; no limit of its own if not given', rate),
  },
  'must be a map with at least `id`',
);

const condition = value<Condition>({ type: 'string', minLength: 1, maxLength: 1000 }, (raw) => {
  if (typeof raw !== 'string') return refuse('must be a condition such as "Vehicle.IsMoving == false"');
  try {
    return parseCondition(raw);
  } catch (error) {
    return refuse(messageOf(error));
  }
});

const canGrant = z.strictObject(
  {
    bus: name.meta({ description: 'a bus of the OBU' }),
    read: key(
      'frames that come in, by filters of can-utils: `id:mask`, `id~mask`, `#errormask`',
      z.array(filter, 'must be a list of filters').min(1, 'is empty'),
    ),
    write: key(
      'frames that it may send; none if not given',
      z.array(canWrite, 'must be a list of { id, len, maxRate }').min(1, 'is empty'),
    ),
    as: key(
      '`socket` (if not given): over the gateway socket; `interface`: a CAN interface in the container, for unmodified programs',
      oneOf('socket', 'interface'),
    ),
    when: key('condition over signals that has to hold while it sends, such as `Vehicle.IsMoving == false`', condition),
  },
  'must be a map with `bus`, and `read` or `write`',
);

const cameraGrant = z.strictObject({
  name: name.meta({ description: 'a camera of the OBU' }),
  maxFps: z
    .number('must be pictures per second, a number')
    .gt(0, 'must be above 0')
    .max(1000, 'must be at most 1000')
    .meta({ description: 'pictures per second at most; who asks for more gets this' }),
});

const stateKey = z
  .string('must be a key')
  .regex(/^[\x21-\x7e]{1,128}$/, 'must be a key: 1 to 128 printable ASCII characters without spaces');

const offloadGrant = z.strictObject({
  tasks: z
    .array(name, 'must be a list of task names')
    .min(1, 'is empty')
    .meta({ description: "tasks of the OBU's configuration" }),
  maxBudgetMs: z
    .number('must be milliseconds, a number')
    .int('must be a whole number of milliseconds')
    .min(1, 'must be at least 1')
    .max(3_600_000, 'must be at most an hour')
    .meta({ description: 'largest budget of one offload, in milliseconds' }),
  places: key(
    'kinds of places where its offloads may run: `here`, `peer`, `vehicle`, `roadside`, `cell`, `cloud`; all if not given',
    z
      .array(z.enum(PLACE_KINDS, `must be one of ${PLACE_KINDS.join(', ')}`), 'must be a list of kinds of places')
      .min(1, 'is empty'),
  ),
  maxCost: key(
    'places that cost more (`brokers[].cost` of `obu.yaml`) are not used',
    z.number('must be a number').min(0, 'must be at least 0'),
  ),
  state: key(
    'keys of session state that its offloads may go with; none if not given. `stateHome` of `obu.yaml` says where they are kept',
    z.array(stateKey, 'must be a list of keys').max(256, 'must have at most 256 keys'),
  ),
});

const grants = z.strictObject(
  {
    signals: key(
      'scopes of Kuksa: `read:PATH`, and `actuate:PATH` and `provide:PATH`, which include it; a branch means all below it, `*` one level; `!` in front denies, which beats every grant',
      z.array(scope, 'must be a list of scopes'),
    ),
    can: key('CAN frames, one entry for each bus', z.array(canGrant, 'must be a list')),
    cameras: key('pictures', z.array(cameraGrant, 'must be a list')),
    offload: key('offloading', offloadGrant),
  },
  'must be a map',
);

export const xObu = z.strictObject(
  {
    priority: key('0 to 1000, or `safety` (1000), `high` (750), `normal` (500, if not given), `idle` (0)', priority),
    preemption: key(
      'what may be done to it for one of higher priority: `freeze`, `stop` (if not given) or `never`',
      oneOf('freeze', 'stop', 'never'),
    ),
    outsource: key(
      'whether a peer may run it: `allowed` (if not given), `never`, `preferred`',
      oneOf('allowed', 'never', 'preferred'),
    ),
    requires: key(
      'what the OBU that runs it has to have: `camera/NAME`, `bus/NAME`',
      z.array(requirement, 'must be a list such as [camera/front]'),
    ),
    data: key(
      'what it may keep in `/data`, as a size; with more it is stopped. If not given, as `data` of the OBU says (1g)',
      size(4096, 'must be at least 4k'),
    ),
    update: key('how it is replaced by a new image or configuration', update),
    grants: key('all that it may touch; what is not here is refused', grants),
  },
  'must be a map',
);
