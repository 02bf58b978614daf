import { nearest } from '../../shared/yaml/yaml.ts';
import type { RawManifest } from './schema/schema.ts';

type Services = RawManifest['services'];

/** Says what is wrong at a path of the manifest. */
export type Say = (path: readonly PropertyKey[], message: string) => void;

/** Dependencies on what is not there, on what can't come that far, and in a circle. */
export function checkDependencies(services: Services, say: Say): void {
  const names = Object.keys(services);
  for (const [name, service] of Object.entries(services)) {
    for (const { workload, condition } of service.depends_on ?? []) {
      const at = [name, 'depends_on', workload];
      const wanted = Object.hasOwn(services, workload) ? services[workload] : undefined;
      if (wanted === undefined) {
        const meant = nearest(workload, names);
        say(at, `there is no service "${workload}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`);
      } else if (condition === 'healthy' && wanted.healthcheck?.test[0] === 'NONE') {
        say(at, `"${workload}" is never healthy: its healthcheck is disabled`);
      } else if (condition === 'completed' && ['always', 'unless-stopped'].includes(wanted.restart?.policy ?? 'no')) {
        say(at, `"${workload}" never completes: with \`restart: ${wanted.restart!.policy}\` it is started again`);
      }
    }
  }
  for (const circle of circles(services)) {
    const [first, second] = circle as [string, string];
    const way = circle.length === 2 && first === second ? 'itself' : circle.join(' → ');
    say([first, 'depends_on', second], `it waits for ${way}, which can never start`);
  }
}

/** One circle for each set of services that wait for one another, its first service at the end again. */
function circles(services: Services): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const visit = (name: string, way: readonly string[]): void => {
    const from = way.indexOf(name);
    if (from !== -1) {
      found.push([...way.slice(from), name]);
      return;
    }
    if (done.has(name)) return;
    for (const { workload } of services[name]?.depends_on ?? []) {
      if (Object.hasOwn(services, workload)) visit(workload, [...way, name]);
    }
    done.add(name);
  };
  for (const name of Object.keys(services)) visit(name, []);
  return found;
}
