/**
 * The names by which DNS of a network knows its running guests besides what they call themselves: the domains' own. An
 * image that calls itself `localhost` is found all the same, and a guest cannot take another's name by its DHCP request,
 * since dnsmasq prefers what stands in a hosts file.
 */

import { isDnsName } from '../../model/network/names.ts';
import { type CompleteNetworkDef, hasOwnBridge } from '../../model/network/network.ts';
import type { Lease } from '../../net/plan.ts';
import type { NetworkPort } from './network-world.ts';

export interface GuestName {
  readonly address: string;
  readonly names: readonly string[];
}

/** True when guests of the network are told in DNS. */
export function servesGuestNames(definition: CompleteNetworkDef): boolean {
  return hasOwnBridge(definition) && (definition.dns?.enable ?? true);
}

/** In the order of addresses, so that the same guests give the same file. Names of the definition stay the definition's. */
export function guestNamesOf(
  definition: CompleteNetworkDef,
  ports: readonly NetworkPort[],
  leases: readonly Lease[],
): GuestName[] {
  const taken = new Set((definition.dns?.hosts ?? []).flatMap(({ names }) => names.map(lower)));
  return ports
    .filter(({ network }) => network === definition.name)
    .flatMap(({ domain, mac }) => {
      const name = lower(domain.name);
      // A name with a dot would speak for a domain that may be somebody's in the world.
      if (name.includes('.') || !isDnsName(name) || taken.has(name)) return [];
      return leases.filter((lease) => lease.mac === mac).map(({ address }) => ({ address, names: [name] }));
    })
    .toSorted((a, b) => (a.address < b.address ? -1 : 1));
}

/** Who is on the network, each domain once. */
export function guestsOn(
  definition: CompleteNetworkDef,
  ports: readonly NetworkPort[],
): { readonly domain: string; readonly macs: readonly string[] }[] {
  const own = ports.filter(({ network }) => network === definition.name);
  return [...Map.groupBy(own, ({ domain }) => domain.name)]
    .map(([domain, cards]) => ({ domain, macs: cards.map(({ mac }) => mac) }))
    .toSorted((a, b) => (a.domain < b.domain ? -1 : 1));
}

const lower = (text: string): string => text.toLowerCase();
