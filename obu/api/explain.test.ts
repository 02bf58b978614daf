/** Which signals without a value an explanation names, and why. */
import { expect, it } from 'vitest';
import { dataFrame } from '../../shared/can/frame.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { parseVssMapping } from '../../shared/vss/vss-mapping.ts';
import { HandBus, noGrants, workload } from '../../test/support/gateway-parts.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from '../signals/signal-store.ts';
import { valuelessOf } from './explain.ts';

function open(dbc: string, mapping: string) {
  const bus = new HandBus();
  const router = new CanRouter(bus);
  router.start();
  const signals = new SignalStore([{ router, dbcs: [parseDbc(dbc, 'x.dbc')] }], parseVssMapping(mapping, 'x.yaml'));
  signals.start();
  const put = (id: number, ...bytes: number[]) => {
    for (const listener of bus.listeners) listener(dataFrame(id, bytes));
  };
  const valueless = (...scopes: string[]) =>
    valuelessOf(workload('app', { ...noGrants, signals: scopes }), { signals });
  return { put, valueless };
}

const dbc = `BO_ 256 A: 8 X
 SG_ Good : 0|8@1+ (1,0) [0|0] "" X
 SG_ Bad : 8|8@1+ (1,0) [0|10] "" X
BO_ 257 B: 8 X
 SG_ Silent : 0|8@1+ (1,0) [0|0] "" X
BO_ 258 C: 8 X
 SG_ Twice : 0|8@1+ (1,0) [0|0] "" X
BO_ 259 D: 8 X
 SG_ Twice : 0|8@1+ (1,0) [0|10] "" X
`;
const mapping = ['Bad', 'Good', 'Silent', 'Twice']
  .map((name) => `V.${name}: { datatype: uint8, dbc2vss: { signal: ${name}, interval_ms: 0 } }`)
  .join('\n');

it('names those that it may read, those whose values are dropped first', () => {
  const { put, valueless } = open(dbc, mapping);
  put(256, 1, 99);
  put(259, 88);
  const all = valueless('read:V')!;
  expect(all.map(({ path }) => path)).toEqual(['V.Bad', 'V.Twice', 'V.Silent']);
  expect(all[0]!.reason).toContain('99');
  expect(all[1]!.reason).toContain('88');
  expect(valueless('read:V.Silent', '!read:V.Twice')!.map(({ path }) => path)).toEqual(['V.Silent']);
  expect(valueless()).toEqual([]);
  put(256, 1, 10);
  expect(valueless('read:V')!.map(({ path }) => path)).toEqual(['V.Twice', 'V.Silent']);
});

it('names only so many', () => {
  const names = Array.from({ length: 60 }, (_, i) => `S${i}`);
  const lines = names.map((name, i) => `BO_ ${i} M${i}: 8 X\n SG_ ${name} : 0|8@1+ (1,0) [0|0] "" X\n`);
  const { valueless } = open(
    lines.join(''),
    names.map((name) => `V.${name}: { datatype: uint8, dbc2vss: { signal: ${name} } }`).join('\n'),
  );
  expect(valueless('read:V')).toHaveLength(50);
});
