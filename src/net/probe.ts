/** What the host already uses: links, addresses, routes, firewall. */
import { existsSync } from 'node:fs';
import type { Firewall } from './firewall/firewall.ts';
import { listAddresses, listRoutes } from './links/addresses.ts';
import { listLinks } from './links/rtnetlink.ts';
import type { HostNetworkFacts } from './plan.ts';
import { readSysctl } from './sysctl.ts';

export async function probeHost(firewall: Firewall): Promise<HostNetworkFacts> {
  const links = listLinks();
  const facts = await firewall.facts();
  return {
    links,
    addresses: listAddresses(links),
    routes: listRoutes(links).map(({ protocol: _protocol, ...route }) => route),
    firewall: {
      backend: await firewall.current(facts),
      available: facts.available,
      isForwardPolicyDrop: facts.isForwardPolicyDrop,
      isDockerPresent: facts.isDockerPresent,
      isFirewalldRunning: facts.isFirewalldRunning,
    },
    isIpv4Forwarding: readSysctl('ipv4/ip_forward') === '1',
    isIpv6Forwarding: readSysctl('ipv6/conf/all/forwarding') === '1',
    isVhostNetPresent: existsSync('/dev/vhost-net'),
  };
}
