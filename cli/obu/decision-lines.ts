import type { OffloadDecision, ShownPlace } from '../../shared/api/offload-decision.ts';

const HEAD = ['PLACE', 'KIND', 'COST', 'FINISH', 'ROUND TRIP', 'RUN', ''];

/** How the place of an offload was chosen: for each place that it was sent to, the table of all. */
export function decisionLines({ id, at, budgetMs, inputBytes, attempts }: OffloadDecision): string[] {
  return [
    `${id}: ${inputBytes} bytes of input, a budget of ${ms(budgetMs)}, at ${at}`,
    ...attempts.flatMap(({ place, reason, leftMs, outcome, places }) => [
      `  ${place === '' ? 'sent nowhere' : `to ${place}`} (${reason}) with ${ms(leftMs)} left: ${outcome || 'under way'}`,
      ...table(places.map((one) => cells(one, one.place === place))),
    ]),
  ];
}

function cells({ place, kind, cost, finishMs, roundTripMs, runMs, verdict }: ShownPlace, isTaken: boolean): string[] {
  const known = (value: number | null) => (value === null ? '-' : ms(value));
  return [
    place,
    kind,
    `${cost}`,
    known(finishMs),
    known(roundTripMs || null),
    known(runMs),
    isTaken ? 'taken' : verdict,
  ];
}

function table(rows: readonly string[][]): string[] {
  const all = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  return all.map((row) => `    ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')}`.trimEnd());
}

function ms(value: number): string {
  return `${Math.round(value * 10) / 10} ms`;
}
