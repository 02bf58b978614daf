import { Gauge, Registry } from 'prom-client';

/**
 * A registry with what is true of every daemon: memory and processor time, under Prometheus' own names. The default set
 * of prom-client is left out because it wakes the process a hundred times a second to watch its event loop.
 */
export function createRegistry(): Registry {
  const registry = new Registry();
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers: [registry],
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'process_cpu_seconds_total',
    help: 'Processor time, user and system.',
    registers: [registry],
    collect() {
      const { user, system } = process.cpuUsage();
      this.set((user + system) / 1e6);
    },
  });
  return registry;
}
