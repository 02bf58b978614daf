/** Several actuators set in one request. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { BusCore } from '../../shared/can/bus-core.ts';
import { type CanFrame, dataFrame } from '../../shared/can/frame.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import type { ActuationTarget } from '../../shared/vss/signal.ts';
import { parseVssMapping, parseVssTree } from '../../shared/vss/vss-mapping.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

const dbc = parseDbc(
  `BO_ 100 Climate: 2 X
 SG_ Fan : 0|8@1+ (1,0) [0|100] "" X
 SG_ Mode : 8|8@1+ (1,0) [0|9] "" X
BO_ 101 State: 1 X
 SG_ FanIs : 0|8@1+ (1,0) [0|100] "" X
`,
  'x.dbc',
);
const mapping = `
Vehicle.Fan: { type: actuator, datatype: uint8, dbc2vss: { signal: FanIs, interval_ms: 0 }, vss2dbc: { signal: Fan } }
Vehicle.Mode: { type: actuator, datatype: uint8, vss2dbc: { signal: Mode } }
`;
const tree = `
Vehicle.Roof: { type: actuator, datatype: uint8 }
Vehicle.Door: { type: actuator, datatype: boolean }
Vehicle.Horn: { type: actuator, datatype: boolean }
Vehicle.Speed: { datatype: float }
`;

let store: SignalStore;
let sent: string[];
let onSend: (frame: CanFrame) => void;
let core: BusCore;

beforeEach(() => {
  sent = [];
  onSend = () => {};
  core = new BusCore();
  const bus: CanBus = {
    name: 'can0',
    kind: 'userspace',
    state: { state: 'Up' },
    stats: core.stats,
    start: async () => {},
    stop: async () => {},
    send: (frame) => {
      sent.push(Buffer.from(frame.data).toString('hex'));
      onSend(frame);
    },
    subscribe: (listener) => core.subscribe(listener),
    onState: () => () => {},
  };
  const router = new CanRouter(bus);
  router.start();
  const leaves = [...parseVssMapping(mapping, 'm.yaml'), ...parseVssTree(tree, 't.yaml')];
  store = new SignalStore([{ router, dbcs: [dbc] }], leaves);
  store.start();
});

afterEach(() => store.stop());

const at = (path: string, value: ActuationTarget['value']) => ({ path: `Vehicle.${path}`, value });

it('sends what one CAN message carries in one turn, and waits for all', async () => {
  onSend = () => setImmediate(() => core.deliver(dataFrame(101, [40])));
  const other = store.actuate('Vehicle.Mode', 1);
  await store.actuateAll([at('Mode', 5), at('Fan', 40), at('Mode', 6)]);
  await other;
  expect(sent).toEqual(['0001', '0005', '2805', '2806']);
});

it('sends nothing when one of them cannot be', async () => {
  const asked: unknown[] = [];
  store.openProvider('body').serve(['Vehicle.Door'], async (path, value) => void asked.push([path, value]));
  for (const [wrong, code] of [
    [at('Mode', 10), ErrorCode.SignalOutOfRange],
    [at('Fan', 300), ErrorCode.BadSignalValue],
    [at('Horn', true), ErrorCode.NoActuationProvider],
    [at('Speed', 1), ErrorCode.NotAnActuator],
    [at('No', 1), ErrorCode.UnknownSignal],
  ] as const) {
    await expect(store.actuateAll([at('Mode', 5), at('Door', true), wrong])).rejects.toMatchObject({ code });
  }
  expect([sent, asked]).toEqual([[], []]);
});

it('gives a provider in one piece what it serves, and one after the other when it does not know pieces', async () => {
  const pieces: unknown[] = [];
  const body = store.openProvider('body');
  body.serve(
    ['Vehicle.Door', 'Vehicle.Roof'],
    async () => expect.unreachable(),
    async (all) => void pieces.push(all),
  );
  const single: unknown[] = [];
  store.openProvider('front').serve(['Vehicle.Horn'], async (_, value) => void single.push(value));
  await store.actuateAll([at('Door', true), at('Horn', true), at('Roof', 3), at('Horn', false)]);
  expect(pieces).toEqual([[at('Door', true), at('Roof', 3)]]);
  expect(single).toEqual([true, false]);
  body.close();
  await expect(store.actuateAll([at('Door', true)])).rejects.toMatchObject({ code: ErrorCode.NoActuationProvider });
});

it('ends with what failed, and no later than it may take', async () => {
  store.openProvider('body').serve(['Vehicle.Door'], () => new Promise(() => {}));
  await expect(store.actuateAll([at('Mode', 5), at('Door', true)], 20)).rejects.toMatchObject({
    code: ErrorCode.ActuationTimedOut,
  });
  expect(sent).toEqual(['0005']);
  await expect(store.actuateAll([at('Fan', 5), at('Mode', 1)], 20)).rejects.toMatchObject({
    code: ErrorCode.ActuationTimedOut,
  });
});
