/** A network's bridge on the host: made, brought to the plan, taken away. Every step is synchronous and short. */

import { VirtError } from '../base/errors.ts';
import { formatIp, lastOf, parseIp, subnetOf } from '../base/ip.ts';
import { isGone } from '../base/netlink.ts';
import { usesLoopback } from './firewall/ruleset.ts';
import {
  addAddress,
  addRoute,
  deleteAddress,
  deleteRoute,
  type LinkAddress,
  listAddresses,
} from './links/addresses.ts';
import { linkError } from './links/link-error.ts';
import { filtersVlans, filterVlans, setPortVlans } from './links/port-vlans.ts';
import { addBridge, changeBridge, deleteLink, linkByName, setUp } from './links/rtnetlink.ts';
import type { HostLink, NetworkPlan, SubnetPlan } from './plan.ts';
import { writeSysctl } from './sysctl.ts';

/** The link of that name, undefined when there is none. */
export function findLink(name: string): HostLink | undefined {
  try {
    return linkByName(name);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw linkError(error, `look up interface ${name}`);
  }
}

/**
 * Makes the bridge, or takes over the one that an earlier daemon left.
 * @param isOurs whether a record says that a bridge of this name is this network's
 * @throws VirtError network.exists when an interface of that name is somebody else's; link.failed
 */
export function makeBridge(plan: NetworkPlan, isOurs: boolean): void {
  const { bridge } = plan;
  const wanted = `make bridge ${bridge.name} of network '${plan.name}'`;
  const link = findLink(bridge.name);
  if (link && !(isOurs && link.kind === 'bridge'))
    throw new VirtError('network.exists', {
      wanted,
      reason: `an interface ${bridge.name} exists on this host and is not this network's`,
      hint: 'give the network another bridge name, or leave the name out to have one chosen',
    });
  try {
    if (link === undefined) addBridge(bridge);
  } catch (error) {
    throw linkError(error, wanted);
  }
}

/** Brings a bridge that exists to the plan, without cutting traffic: what is right stays as it is. */
export function setUpBridge(plan: NetworkPlan, before: NetworkPlan | undefined): void {
  const { bridge } = plan;
  try {
    const link = linkByName(bridge.name);
    changeBridge(link, bridge);
    setUpVlans(link, bridge);
    setKernelOptions(plan);
    // Down to up with the addresses in place: dnsmasq finds all at once.
    setAddresses(link, plan.subnets.map(linkAddress));
    if (!link.isUp) setUp(link, true);
    setRoutes(link, plan, before);
  } catch (error) {
    throw linkError(error, `set up bridge ${bridge.name} of network '${plan.name}'`);
  }
}

/** Once it tells VLANs apart a bridge goes on doing so: a running guest may have asked for it by itself. */
function setUpVlans(link: HostLink, { isVlanFiltering, vlans }: NetworkPlan['bridge']): void {
  if (isVlanFiltering !== true) return;
  if (!filtersVlans(link)) filterVlans(link);
  // The host is in the network's VLANs as its guests are: DHCP, DNS and the gateway are for them.
  if (vlans) setPortVlans(link, vlans, { self: true });
}

function setKernelOptions({ bridge, subnets, portForwards }: NetworkPlan): void {
  const six = `ipv6/conf/${bridge.name}`;
  const hasSix = subnets.some(({ family }) => family === 6);
  // No address of the host on a network that has no IPv6; and the host takes no routes from its guests.
  writeSysctl(`${six}/disable_ipv6`, hasSix ? '0' : '1');
  writeSysctl(`${six}/accept_ra`, '0');
  writeSysctl(`${six}/autoconf`, '0');
  // Lets the host's loopback lead to guests; the ruleset keeps guests from using it the other way round.
  writeSysctl(`ipv4/conf/${bridge.name}/route_localnet`, portForwards.some(usesLoopback) ? '1' : '0');
}

function linkAddress({ family, address, prefix }: SubnetPlan): LinkAddress {
  const parsed = parseIp(address);
  if (parsed === undefined) throw new Error(`'${address}' is no IP address`);
  if (family === 6) return { family, address, prefix };
  return { family, address, prefix, broadcast: formatIp(lastOf(subnetOf(parsed, prefix))) };
}

function setAddresses(link: HostLink, wanted: readonly LinkAddress[]): void {
  const keyOf = ({ address, prefix }: { address: string; prefix: number }) => {
    const parsed = parseIp(address);
    return `${parsed ? formatIp(parsed) : address}/${prefix}`;
  };
  const keys = new Set(wanted.map(keyOf));
  const present = listAddresses([link]).filter(
    ({ address, family }) => !(family === 6 && address.startsWith('fe80:')),
  );
  for (const address of present) if (!keys.has(keyOf(address))) deleteAddress(link, address);
  const have = new Set(present.map(keyOf));
  for (const address of wanted) if (!have.has(keyOf(address))) addAddress(link, address);
}

function setRoutes(link: HostLink, plan: NetworkPlan, before: NetworkPlan | undefined): void {
  const keys = new Set(plan.routes.map((route) => JSON.stringify(route)));
  for (const route of before?.routes ?? [])
    if (!keys.has(JSON.stringify(route))) {
      try {
        deleteRoute(link, route);
      } catch (error) {
        // Somebody took it away already.
        if (!isGone(error)) throw error;
      }
    }
  for (const route of plan.routes) addRoute(link, route);
}

/** Sets the bridge down: from here on nothing passes, whatever rules remain. Idempotent, and done at once. */
export function silenceBridge({ bridge }: NetworkPlan): void {
  const link = findLink(bridge.name);
  if (link?.kind === 'bridge' && link.isUp) setUp(link, false);
}

/** Takes the bridge away; running guests keep their taps. Idempotent. */
export async function removeBridge(plan: NetworkPlan): Promise<void> {
  const { name } = plan.bridge;
  const link = findLink(name);
  if (link?.kind !== 'bridge') return;
  try {
    await deleteLink(link);
  } catch (error) {
    if (!isGone(error)) throw linkError(error, `delete bridge ${name}`);
  }
}
