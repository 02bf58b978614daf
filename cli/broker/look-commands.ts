import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import type {
  BrokerEvent,
  NeighbourStatus,
  OffloadPage,
  PackageStatus,
  StatePage,
  TenantStatus,
  VehiclePage,
} from '../../shared/api/broker.ts';
import { eventLine } from '../lib/event-lines.ts';
import { interruptible, type OutputFormat, outputOption, show, showNext, toCount } from '../lib/output.ts';
import { REFRESH_MS, showRepeatedly, withWatch } from '../lib/watch.ts';
import { type BrokerApi, type BrokerApiOptions, connectBroker, withBrokerApi } from './broker-client.ts';
import {
  brokerStatusLines,
  neighbourLines,
  offloadLines,
  packageLines,
  stateLines,
  tenantLines,
  topLines,
  topRows,
  vehicleLines,
} from './broker-lines.ts';

interface LookOptions extends BrokerApiOptions {
  readonly output: OutputFormat;
  readonly watch?: boolean;
}

interface PageOptions extends LookOptions {
  readonly limit: number;
  readonly tenant?: string;
  readonly vehicle?: string;
  readonly state?: string;
}

/** `kerb broker status`, `top` and `get`. */
export function registerLookCommands(broker: Command): void {
  const looking = (command: Command) => withWatch(withBrokerApi(command).addOption(outputOption()));

  looking(broker.command('status').description('what a running broker is doing')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const running = await connectBroker(api);
      await showRepeatedly(watch, output, () => running.status(), brokerStatusLines);
    },
  );

  looking(broker.command('top').description('which tenants keep a running broker busy')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const running = await connectBroker(api);
      await showRepeatedly(watch, output, await topOf(running), topLines);
    },
  );

  const get = broker.command('get').description('what a running broker has');
  looking(get.command('tenants').description('tenants: what they have here, use, and were refused')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const running = await connectBroker(api);
      await showRepeatedly(watch, output, () => running.ask<TenantStatus[]>('/v1/tenants'), tenantLines);
    },
  );
  looking(get.command('packages').description('the tasks that can be offloaded here')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const running = await connectBroker(api);
      await showRepeatedly(watch, output, () => running.ask<PackageStatus[]>('/v1/packages'), packageLines);
    },
  );
  looking(get.command('neighbours').description('the brokers that the policy names, and what was forwarded')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const running = await connectBroker(api);
      await showRepeatedly(watch, output, () => running.ask<NeighbourStatus[]>('/v1/neighbours'), neighbourLines);
    },
  );
  registerPages(get, looking);
  registerEvents(get);
}

function registerPages(get: Command, looking: (command: Command) => Command): void {
  const paged = (name: string, description: string) =>
    looking(get.command(name).description(description))
      .option('--limit <n>', 'how many at most, up to 10000', toCount, 100)
      .option('--tenant <name>', 'only of this tenant');

  paged('offloads', 'what waits and runs now, the oldest first')
    .option('--vehicle <id>', 'only of this vehicle')
    .option('--state <state>', 'only waiting or running', toState)
    .action(async ({ output, watch, limit, tenant, vehicle, state, ...api }: PageOptions) => {
      const running = await connectBroker(api);
      const path = pagePath('/v1/offloads', limit, { tenant, vehicle, state });
      await showRepeatedly(watch, output, () => running.ask<OffloadPage>(path), offloadLines);
    });

  paged('state', 'the keys of sessions that have a value here, never the values').action(
    async ({ output, watch, limit, tenant, ...api }: PageOptions) => {
      const running = await connectBroker(api);
      const path = pagePath('/v1/state', limit, { tenant });
      await showRepeatedly(watch, output, () => running.ask<StatePage>(path), stateLines);
    },
  );

  paged('vehicles', 'the vehicles that are connected, those that have been for longest first').action(
    async ({ output, watch, limit, tenant, ...api }: PageOptions) => {
      const running = await connectBroker(api);
      const path = pagePath('/v1/vehicles', limit, { tenant });
      await showRepeatedly(watch, output, () => running.ask<VehiclePage>(path), vehicleLines);
    },
  );
}

function registerEvents(get: Command): void {
  withBrokerApi(get.command('events').description('recent events, since the start of the broker'))
    .addOption(outputOption())
    .option('-w, --watch', 'watch: print new events as they happen, until Ctrl-C')
    .option('--name <name>', 'only events of this tenant, task or source')
    .action(async ({ output, watch, name, ...api }: LookOptions & { name?: string }) => {
      const running = await connectBroker(api);
      const query = name === undefined ? '' : `&name=${encodeURIComponent(name)}`;
      if (watch) {
        await interruptible(async (signal) => {
          for await (const event of running.follow<BrokerEvent>(`/v1/events?follow=1${query}`, signal))
            showNext(output, event, (one) => [eventLine(one)]);
        });
        return;
      }
      const events = await running.ask<BrokerEvent[]>(`/v1/events?after=0${query}`);
      show(output, events, (all) => (all.length === 0 ? ['nothing has happened yet'] : all.map(eventLine)));
    });
}

/** Rates are the difference of two looks; the first is a second after the start. */
async function topOf(running: BrokerApi) {
  const read = async () => ({ at: performance.now(), tenants: await running.ask<TenantStatus[]>('/v1/tenants') });
  let before = await read();
  await sleep(REFRESH_MS);
  return async () => {
    const now = await read();
    const rows = topRows(before.tenants, now.tenants, now.at - before.at);
    before = now;
    return rows;
  };
}

function pagePath(route: string, limit: number, only: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams({ limit: String(limit) });
  for (const [key, value] of Object.entries(only)) if (value !== undefined) query.set(key, value);
  return `${route}?${query}`;
}

function toState(text: string): string {
  if (text === 'waiting' || text === 'running') return text;
  throw new InvalidArgumentError('it must be waiting or running');
}
