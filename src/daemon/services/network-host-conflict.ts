/** What of the host a network would take away: its own subnets, addresses, gateways and routes. */
import { contains, formatSubnet, isSameIp, overlaps, parseIp, type Subnet } from '../../base/ip.ts';
import { subnetOfIp, subnetsOf } from '../../model/network/addresses.ts';
import type { NetworkDef } from '../../model/network/network.ts';
import type { HostNetworkFacts } from '../../net/plan.ts';
import { hostSubnets } from './network-world.ts';

/**
 * In words why the network can't be on this host, undefined when it can. libvirt refuses subnets and routes that are
 * exactly those of another link; here also parts of them count, and addresses that the host lives by.
 */
export function hostConflict(definition: NetworkDef, facts: HostNetworkFacts): string | undefined {
  const own = definition.bridge?.name ?? '';
  const taken = hostSubnets(facts, new Set([own]));
  for (const subnet of subnetsOf(definition)) {
    // A wider route, as a company's 10.0.0.0/8 by VPN, loses these addresses only.
    const found = taken.find(
      (other) => overlaps(other.subnet, subnet) && other.subnet.prefix >= subnet.prefix,
    );
    if (found !== undefined) return overlapText(subnet, found);
    const lost = vitalAddress(subnet, facts, own);
    if (lost !== undefined) return `${formatSubnet(subnet)} would hide ${lost}`;
  }
  return routeConflict(definition, taken);
}

function overlapText(subnet: Subnet, other: { readonly subnet: Subnet; readonly link: string }): string {
  const where = other.link === '' ? 'a route of the host' : `the host's interface '${other.link}'`;
  return `${formatSubnet(subnet)} overlaps with ${formatSubnet(other.subnet)} on ${where}`;
}

/** An address of the host or a router it uses: however wide the net around them is, without these it is cut off. */
function vitalAddress(subnet: Subnet, facts: HostNetworkFacts, own: string): string | undefined {
  const isInside = (text: string) => {
    const address = parseIp(text);
    return address !== undefined && contains(subnet, address);
  };
  const address = facts.addresses.find((one) => one.link !== own && isInside(one.address));
  if (address) return `the host's own address ${address.address} on '${address.link}'`;
  const route = facts.routes.find(
    ({ gateway, link }) => gateway !== undefined && link !== own && isInside(gateway),
  );
  return route && `${route.gateway}, a router that the host uses on '${route.link ?? '?'}'`;
}

/** A static route to where the host has one already would take its place. */
function routeConflict(
  definition: NetworkDef,
  taken: readonly { readonly subnet: Subnet; readonly link: string }[],
): string | undefined {
  for (const route of definition.routes) {
    const subnet = subnetOfIp(route);
    const found =
      subnet &&
      taken.find((one) => one.subnet.prefix === subnet.prefix && isSameIp(one.subnet.base, subnet.base));
    if (found)
      return `the route to ${formatSubnet(subnet)} is there already, ${found.link === '' ? 'by a router of the host' : `on the host's interface '${found.link}'`}`;
  }
  return undefined;
}
