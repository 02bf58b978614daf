import { expect, it } from 'vitest';
import { parseManifest } from '../manifest/manifest.ts';
import { grantsOf } from './grants.ts';

it('says what a workload may, a line for each thing', () => {
  const [workload] = parseManifest(
    `
services:
  lane:
    image: lane:1
    x-obu:
      grants:
        signals: ["read:Vehicle.Speed", "!read:Vehicle.Cabin"]
        can:
          - { bus: can0, read: ["100:700"], write: [{ id: "3E9", len: 8, maxRate: 10/s }], when: "Vehicle.Speed == 0" }
          - { bus: can1, read: ["123:7FF"], as: interface }
        cameras: [{ name: front, maxFps: 10 }]
        offload: { tasks: [a, b], maxBudgetMs: 500 }
`,
    'car.yaml',
  );
  expect(grantsOf(workload!).map(({ kind, what, may }) => [kind, what, may])).toEqual([
    ['can', 'can0', 'read 100:700; write 3E9 of 8 bytes at most 10/s; write only while Vehicle.Speed == 0; as socket'],
    ['can', 'can1', 'read 123:7FF; as interface'],
    ['signals', '', '!read:Vehicle.Cabin'],
    ['signals', '', 'read:Vehicle.Speed'],
    ['camera', 'front', 'at most 10 pictures/s'],
    ['offload', 'a, b', 'budgets of at most 500 ms'],
  ]);
});
