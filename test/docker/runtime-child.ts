/** For tests: what runs workloads, in a process of its own that can be killed. Arguments: state folder, workloads as JSON. */
import type { Workload } from '../../obu/manifest/workload.ts';
import { Runtime } from './runtime.ts';

const [state, workloads, config] = process.argv.slice(2) as [string, string, string];
const runtime = new Runtime(state, config);
await runtime.start(JSON.parse(workloads) as Workload[]);
process.stdout.write('up\n');
