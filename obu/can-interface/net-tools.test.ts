import { expect, it } from 'vitest';
import { argsOf, parseRules } from './net-tools.ts';

it('reads the rules of can-gw as cangw lists them', () => {
  const list = `cangw -A -s vcan0 -d kbzza -e -f 000:80000000 # 0 handled 0 dropped 0 deleted
cangw -A -s vcan0 -d kbzza # 3 handled 0 dropped 0 deleted
cangw -A -s vcan0 -d kbzza -X -e -f 98DAF110:DFFFFFFF # 0 handled 0 dropped 0 deleted
cangw -A -s vcan0 -d vxh -e -f 300~C0000700 # 0 handled 0 dropped 0 deleted
cangw -A -s can0 -d vcan3 -e -f 123:C00007FF -m SET:IL:333.4.1122334455667788 # 0 handled 0 dropped 0 deleted
received msg from unknown family 2
`;
  const rule = { from: 'vcan0', to: 'kbzza', fd: false, echo: true };
  const rules = parseRules(list);
  expect(rules).toEqual([
    { ...rule, cube: { id: 0, mask: 0x80000000 } },
    { ...rule, echo: false, cube: { id: 0, mask: 0 } },
    { ...rule, fd: true, cube: { id: 0x98daf110, mask: 0xdfffffff } },
  ]);
  expect(argsOf(rules[2]!).join(' ')).toBe('-s vcan0 -d kbzza -e -X -f 98daf110:dfffffff');
  expect(argsOf(rules[1]!).join(' ')).toBe('-s vcan0 -d kbzza -f 0:0');
});
