/** The host's own resolver: names of a network's domain are asked of the network's DNS server. */
import { existsSync } from 'node:fs';
import { reasonOf } from '../base/errors.ts';
import { findProgram, run } from '../base/exec.ts';
import type { Logger } from '../base/log.ts';
import { reverseZone } from './dnsmasq/config.ts';
import type { NetworkPlan } from './plan.ts';

/** systemd-resolved's directory, there while it runs (systemd-resolved.service(8)). */
const resolvedDirectory = '/run/systemd/resolve';

/**
 * What to tell resolvectl(1), pure: the bridge's DNS server, and routing domains (`~`), so that nothing else goes there.
 * Reverse lookups go there too where a subnet is a zone of its own, as /24 is and /25 is not.
 * Empty when the network wants no registration or has nothing to register.
 */
export function resolverCommands(plan: NetworkPlan): string[][] {
  const { domain, dns, bridge, subnets } = plan;
  if (domain?.isRegistered !== true || !dns.isEnabled || subnets.length === 0) return [];
  const servers = subnets.map(({ address }) => address);
  const zones = subnets
    .filter(({ family, prefix }) => prefix % (family === 4 ? 8 : 4) === 0)
    .map((subnet) => reverseZone(subnet));
  return [
    ['dns', bridge.name, ...servers],
    ['domain', bridge.name, ...[domain.name, ...zones].map((name) => `~${name}`)],
  ];
}

/**
 * Registers the domain with systemd-resolved; that ends with the bridge. A host without it, or one that refuses, has the
 * network all the same: the log tells what to add by hand.
 */
export async function registerDomain(plan: NetworkPlan, log: Logger): Promise<void> {
  const commands = resolverCommands(plan);
  if (commands.length === 0) return;
  try {
    if (!existsSync(resolvedDirectory) || (await findProgram('resolvectl')) === undefined)
      throw new Error('systemd-resolved does not run on this host');
    for (const words of commands) await run('resolvectl', words, { timeoutMs: 10_000 });
  } catch (error) {
    const line = `server=/${plan.domain?.name}/${plan.subnets[0]?.address}`;
    log.warn(
      { network: plan.name, reason: reasonOf(error), line },
      "this host does not look up the network's names; a dnsmasq of the host does with this line",
    );
  }
}
