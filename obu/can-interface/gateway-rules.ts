/** The rules of the kernel's CAN gateway (can-gw) for the CAN interfaces of this OBU's containers. */
import { type ContainerLink, type GatewayRule, rulesOf } from '../grants/interface-rules.ts';
import { argsOf, hasInterface, listRules, run } from './net-tools.ts';

/**
 * Brings the kernel's rules to what they should be. Those of interfaces that are gone are gone with them.
 * @param prefix Of the names of all our interfaces.
 * @throws KerbError CanInterfaceUnavailable
 */
export async function syncRules(prefix: string, wanted: readonly ContainerLink[]): Promise<void> {
  const links = wanted.filter(({ device, host }) => hasInterface(device) && hasInterface(host));
  const missing = new Map(rulesOf(links).map((rule) => [argsOf(rule).join(' '), rule]));
  for (const rule of await installedRules(prefix)) {
    const key = argsOf(rule).join(' ');
    // A rule that is there twice would double the frames.
    if (!missing.delete(key)) await change('-D', rule);
  }
  for (const rule of missing.values()) await change('-A', rule);
}

async function change(command: '-A' | '-D', rule: GatewayRule): Promise<void> {
  try {
    await run('cangw', [command, ...argsOf(rule)]);
  } catch (error) {
    // A container or a bus that goes takes its interface with it, at any moment.
    if (hasInterface(rule.from) && hasInterface(rule.to)) throw error;
  }
}

async function installedRules(prefix: string): Promise<GatewayRule[]> {
  return (await listRules()).filter(({ from, to }) => from.startsWith(prefix) || to.startsWith(prefix));
}
