import type { GrantStatus } from '../../shared/api/obu.ts';
import { formatCanId } from '../../shared/can/frame.ts';
import type { CanGrant, OffloadGrant, Workload } from '../manifest/workload.ts';

/** The grants of a workload as text, one line for each. */
export function grantsOf({ name, grants }: Workload): GrantStatus[] {
  const grant = (kind: GrantStatus['kind'], what: string, may: string): GrantStatus => ({
    workload: name,
    kind,
    what,
    may,
  });
  const { offload } = grants;
  return [
    ...grants.can.map((one) => grant('can', one.bus, sentenceOf(one))),
    ...grants.signals.map((scope) => grant('signals', '', scope.text)),
    ...grants.cameras.map((one) => grant('camera', one.name, `at most ${one.maxFps} pictures/s`)),
    ...(offload
      ? [
          grant(
            'offload',
            offload.tasks.join(', '),
            `budgets of at most ${offload.maxBudgetMs} ms${placesText(offload)}${stateText(offload.state)}`,
          ),
        ]
      : []),
  ];
}

function placesText({ places, maxCost }: OffloadGrant): string {
  const where = places === undefined ? '' : `, in places of the kinds ${places.join(', ')}`;
  return maxCost === undefined ? where : `${where}, at a cost of at most ${maxCost}`;
}

function sentenceOf({ read, write, as, when }: CanGrant): string {
  const writes = write.map(({ id, ext, length, maxPerSecond }) =>
    [
      formatCanId(id, ext),
      ...(length === undefined ? [] : [`of ${length} bytes`]),
      ...(maxPerSecond === undefined ? [] : [`at most ${maxPerSecond}/s`]),
    ].join(' '),
  );
  return [
    ...(read.length === 0 ? [] : [`read ${read.map(({ text }) => text).join(', ')}`]),
    ...(writes.length === 0 ? [] : [`write ${writes.join(', ')}`]),
    ...(when === undefined ? [] : [`write only while ${when.text}`]),
    `as ${as}`,
  ].join('; ');
}

function stateText(keys: readonly string[] = []): string {
  return keys.length === 0 ? '' : `, with the state ${keys.join(', ')}`;
}
