import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { compileFilters } from '../../shared/can/filter.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import { configHash } from '../workloads/container-spec.ts';
import { parseManifest } from './manifest.ts';
import { readGrants, readWorkload, type StoredGrants, type StoredWorkload } from './stored-grants.ts';

const text = `services:
  plain: { image: x }
  full:
    image: x
    x-obu:
      grants:
        signals: ["read:Vehicle.Speed", "!read:Vehicle.Cabin", "actuate:Vehicle.Cabin.*.IsOpen", "read:Vehicle.Speed"]
        can:
          - { bus: can0, read: ["100:700", "00012345~1FFFFFFF", "#FF"], write: [{ id: "3E9", len: 8, maxRate: 10/s }, { id: "18DAF110" }], when: "Vehicle.Speed  == 0 && Vehicle.IsMoving==false" }
        cameras: [{ name: front, maxFps: 5 }]
        offload: { tasks: [t], maxBudgetMs: 100 }
  interface:
    image: x
    x-obu:
      grants:
        can:
          - { bus: can1, read: ["123:7ff", "98daf110:DFFFFFFF"], write: [{ id: "3E9" }, { id: "18DAF110" }], as: interface }
          - { bus: can0, read: ["100:700"], when: "Vehicle.Speed == 0", write: [{ id: "1" }] }
`;
const workloads = parseManifest(text, 'x.yaml');
const sha256 = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

describe('workloads as JSON', () => {
  // An OBU that is updated must not restart its containers: their labels have the hash of what ran before.
  it('hash as they did when grants were texts', () => {
    expect(workloads.map((one) => [one.name, configHash(one), sha256(one)])).toEqual([
      ['full', '388e88b144f7a849', '2d9b52d2fc80a985'],
      ['interface', '93671c137e92a00b', 'ff68fb3d4e7bf961'],
      ['plain', '10cafc77ab35e2d1', '187e21b846b20ab8'],
    ]);
  });

  it('come back with the same values, and are the same JSON again', () => {
    const stored = JSON.parse(JSON.stringify(workloads)) as StoredWorkload[];
    const back = stored.map(readWorkload);
    expect(back).toEqual(workloads);
    expect(JSON.stringify(back)).toBe(JSON.stringify(workloads));
    expect(back.map(configHash)).toEqual(workloads.map(configHash));
    const { signals, can } = back[0]!.grants;
    expect(signals.map((scope) => [scope.deny, scope.matches('Vehicle.Cabin.Door.IsOpen')])).toEqual([
      ...[
        [true, true],
        [false, true],
        [false, false],
      ],
    ]);
    const passes = compileFilters(can[0]!.read);
    expect([0x17f, 0x12345].map((id) => passes(dataFrame(id, [])))).toEqual([true, false]);
    expect([0, 1].map((speed) => can[0]!.when!.holds((path) => path === 'Vehicle.Speed' && speed))).toEqual([
      true,
      false,
    ]);
  });

  it('are refused with a text that is none of ours', () => {
    const grants: StoredGrants = { signals: [], can: [], cameras: [] };
    const can = { bus: 'can0', read: [], write: [], as: 'socket' } as const;
    const codeOf = (own: Partial<StoredGrants>) => {
      try {
        return readGrants({ ...grants, ...own });
      } catch (error) {
        return (error as { code?: unknown }).code;
      }
    };
    expect(codeOf({ signals: ['write:Vehicle'] })).toBe(ErrorCode.BadSignalScope);
    expect(codeOf({ can: [{ ...can, read: ['xyz'] }] })).toBe(ErrorCode.BadCanFilter);
    expect(codeOf({ can: [{ ...can, when: 'Vehicle.Speed <' }] })).toBe(ErrorCode.BadCondition);
  });
});
