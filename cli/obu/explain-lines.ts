import { workloadWhy } from '../../obu/api/workload-why.ts';
import type { Explanation } from '../../shared/api/obu.ts';
import { stateWord } from '../../shared/api/workload-state.ts';
import { eventLine } from '../lib/event-lines.ts';
import { mebibytes, timeSpan } from '../lib/units.ts';

/** An explanation on one screen: first why, then what it wants, what there is, what it did and what it may. */
export function explainLines(all: Explanation): string[] {
  const { workload, wants, room } = all;
  const notDeclared = (declared: boolean) => (declared ? '' : ' (not declared)');
  return [
    `${workload.name}: ${stateWord(workload)}`,
    ...item('why', workloadWhy(workload)),
    ...item('image', `${workload.image}, priority ${workload.priority}`),
    ...item(
      'wants',
      `${mebibytes(wants.memory.bytes)}${notDeclared(wants.memory.declared)} and ` +
        `${round(wants.cpus.number)} CPUs${notDeclared(wants.cpus.declared)}`,
    ),
    ...item(
      'room',
      `${mebibytes(room.memory.used)} of ${mebibytes(room.memory.total)} and ${round(room.cpus.used)} of ` +
        `${round(room.cpus.total)} CPUs are taken by what runs; pressure: ${room.pressure}`,
    ),
    ...item('policy', `preemption ${wants.preemption}; restart ${wants.restart}; update ${wants.update}`),
    ...item('requires', wants.requires.join(', ')),
    ...item(
      'depends on',
      wants.dependsOn.map((one) => `${one.workload} (${one.condition}), which is ${one.state}`).join('; '),
    ),
    ...pastLines(all),
    ...containerLines(all),
    ...item('denied', deniedText(all)),
    ...list(
      'may',
      all.grants.map(({ kind, what, may }) => [kind, what, may].filter((word) => word !== '').join(' ')),
    ),
    ...list('no value', valuelessLines(all)),
    ...list('events', all.events.map(eventLine)),
    ...list(
      'log',
      all.log.map(({ time, stream, text }) => `${time}  ${stream === 'stderr' ? '! ' : '  '}${text}`),
    ),
  ];
}

const MAX_VALUELESS = 10;

function valuelessLines({ valueless = [] }: Explanation): string[] {
  const lines = valueless.slice(0, MAX_VALUELESS).map(({ path, reason }) => `${path}: ${reason}`);
  // The OBU names no more than a part of very many.
  return valueless.length > lines.length ? [...lines, 'and more; kerb signal get PATH says which and why'] : lines;
}

/** How many CAN frames and why, and of a CAN interface which ids. */
function deniedText({ denied, deniedIds }: Explanation): string {
  const reasons = Object.entries(denied).map(([reason, count]) => `${count} CAN frames (${reason})`);
  // An OBU of an older version does not say them.
  const ids = (deniedIds ?? []).map(({ bus, id, frames }) => `${id} on ${bus} (${frames})`);
  return [reasons.join(', '), ids.length === 0 ? '' : `from its CAN interface: ${ids.join(', ')}`]
    .filter(Boolean)
    .join('; ');
}

function pastLines({ preempted, lastEnd, failures, workload, versions }: Explanation): string[] {
  return [
    ...item(
      'displaced',
      preempted === undefined ? '' : `${preempted.why} (${preempted.how}, for ${preempted.by}, at ${preempted.at})`,
    ),
    ...item(
      'last end',
      lastEnd === undefined
        ? ''
        : `${lastEnd.how}, at ${lastEnd.at}; ${failures} in a row, started again ${workload.restarts} times`,
    ),
    ...item('runs', versions.now),
    ...item('last good', versions.good === versions.now ? '' : versions.good),
    ...item('taken back', versions.bad === '' ? '' : `${versions.bad}: ${versions.badWhy}`),
  ];
}

function containerLines({ containers, usage }: Explanation): string[] {
  const lines = containers.map(({ name, id, state, health, startedAt }) => {
    const since = startedAt === '' ? '' : `, started ${timeSpan(Date.now() - Date.parse(startedAt))} ago`;
    return `${name} (${id.slice(0, 12)}) is ${state}${health === 'none' ? '' : ` and ${health}`}${since}`;
  });
  const uses =
    usage === undefined
      ? ''
      : `${mebibytes(usage.memory.workingSet)}${usage.memory.limit > 0 ? ` of ${mebibytes(usage.memory.limit)}` : ''}, ` +
        `${usage.cpu.total.toFixed(1)} s of CPU since its start, ${usage.threads} threads`;
  return [...item('container', lines.join('; ') || 'none'), ...item('uses', uses)];
}

function item(name: string, text: string): string[] {
  return text === '' ? [] : [`  ${`${name}:`.padEnd(12)}${text}`];
}

function list(name: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`  ${name}:`, ...lines.map((line) => `    ${line}`)];
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
