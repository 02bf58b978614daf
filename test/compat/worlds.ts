/** What is behind the daemons of the recorded conversations: the same when they were recorded and when they are said again. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_LIMITS } from '../../broker/config.ts';
import { type RunningBroker, startBroker } from '../../broker/main.ts';
import { DEFAULT_PUSH_LIMITS } from '../../broker/packages/push-limits.ts';
import { silentLog } from '../../shared/base/log.ts';
import { createAuthority, issueCertificate } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { noThread } from '../support/broker/no-thread.ts';
import { type ConversationRecord, readConversation } from '../support/conversation.ts';
import { FakeTender } from '../support/fake-tender.ts';
import { allGrants, type HandObu, value, workload } from '../support/gateway-parts.ts';

const here = import.meta.dirname;
/** Public keys of who signed the package that is pushed. */
export const TRUST = join(here, 'v2e-1-trust');

export const conversationFile = (name: string): string => join(here, `${name}.bin`);
export const conversation = (name: string): ConversationRecord[] =>
  readConversation(readFileSync(conversationFile(name)));

export interface BrokerWorld {
  readonly broker: RunningBroker;
  readonly brokerIdentity: Identity;
  readonly vehicleIdentity: Identity;
}

/** A broker that takes packages from vehicles, with tenders without processes. @param folder of its own, and empty */
export async function startBrokerWorld(folder: string, trustDir: string): Promise<BrokerWorld> {
  const authority = await createAuthority('Test CA');
  const dirs = { broker: join(folder, 'broker'), vehicle: join(folder, 'vehicle') };
  const subjects = [
    { kind: 'broker', id: 'rsu-1', hosts: [] },
    { kind: 'vehicle', id: 'car-1', tenant: 'ACME' },
  ] as const;
  for (const subject of subjects)
    await writeIdentity(dirs[subject.kind], await issueCertificate(authority, subject), authority.certificate);
  const broker = await startBroker(
    {
      ...{ id: 'rsu-1', listen: { host: '127.0.0.1', port: 0 }, identityDir: dirs.broker, trustDir },
      ...{ packagesDir: folder, stateDir: join(folder, 'state'), apiSocket: join(folder, 'api') },
      ...{ isolation: 'process', prestart: 'all', limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1 } },
      push: { tenants: ['ACME'], limits: DEFAULT_PUSH_LIMITS, maxInput: 65_536 },
    },
    { log: silentLog(), runThread: noThread, createTender: () => new FakeTender() },
  );
  return {
    broker,
    brokerIdentity: await loadIdentity(dirs.broker, 'broker'),
    vehicleIdentity: await loadIdentity(dirs.vehicle, 'vehicle'),
  };
}

/** @returns the socket of a workload that may do one thing of each kind */
export async function serveGateway(obu: HandObu): Promise<string> {
  obu.signals.deliver(value('Vehicle.Speed', 50), value('Vehicle.Chassis.SteeringWheel.Angle', -3));
  const grants = { ...allGrants, can: [{ ...allGrants.can[0]!, write: [written] }] };
  return (await obu.serve(workload('app', grants))).path;
}
const written = { id: 0x3e9, ext: false, length: 2, maxPerSecond: undefined };

/** What happens in the vehicle at the marks of the gateway's conversation. */
export function actInVehicle(obu: HandObu, mark: string): void {
  if (mark === 'can') obu.bus.deliver(0x101, 0x102, 0x200);
  else if (mark === 'speed') obu.signals.deliver(value('Vehicle.Speed', 51));
  else if (mark === 'picture') obu.camera.deliver(7, Uint8Array.of(1, 2, 3, 4));
  else throw new Error(`no such mark: ${mark}`);
}
