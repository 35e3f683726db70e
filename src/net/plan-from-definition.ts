/** From a network's definition to what it needs of the host. Pure; the definition is complete and was validated. */
import { familyOf, prefixOf } from '../model/network/addresses.ts';
import { needsVlans, type Vlan } from '../model/network/connection.ts';
import type { DhcpHost, NetworkIp, NetworkRoute } from '../model/network/ip.ts';
import { type CompleteNetworkDef, forwardModeOf } from '../model/network/network.ts';
import { leaseUnitSeconds } from '../model/network/validate/ips.ts';
import type { PortVlan } from './links/requests.ts';
import type {
  BandwidthLimit,
  BandwidthPlan,
  BridgePlan,
  DhcpPlan,
  DnsPlan,
  ForwardMode,
  ForwardPlan,
  LeaseTime,
  NetworkPlan,
  PortForward,
  RoutePlan,
  SubnetPlan,
} from './plan.ts';

export interface PlanExtras {
  /** Port forwards whose guests' addresses are known. */
  readonly portForwards: readonly PortForward[];
  /** Names of running guests that DNS tells besides those of the definition. */
  readonly guestNames: DnsPlan['hosts'];
  /** Running guests on the network. */
  readonly guests: NetworkPlan['guests'];
  readonly shares?: NetworkPlan['shares'];
}

/** @throws Error for a network without a bridge of its own, or without its defaults: a bug of the caller */
export function planOf(definition: CompleteNetworkDef, extras: PlanExtras): NetworkPlan {
  const bandwidth = bandwidthPlanOf(definition.bandwidth);
  const { domain } = definition;
  return {
    uuid: definition.uuid,
    name: definition.name,
    bridge: bridgeOf(definition),
    forward: forwardOf(definition),
    subnets: definition.ips.map((ip) => subnetOf(ip)),
    routes: definition.routes.map((route) => routeOf(route)),
    ...(domain && {
      domain: {
        name: domain.name,
        isLocalOnly: domain.localOnly ?? false,
        isRegistered: domain.register ?? false,
      },
    }),
    dns: dnsOf(definition, extras),
    dnsmasqOptions: definition.dnsmasqOptions.map(({ value }) => value),
    portForwards: extras.portForwards,
    guests: extras.guests,
    ...(bandwidth && { bandwidth }),
    ...(bandwidth?.inbound && extras.shares && extras.shares.length > 0 && { shares: extras.shares }),
  };
}

function bridgeOf(definition: CompleteNetworkDef): BridgePlan {
  const { bridge, mac, mtu } = definition;
  if (bridge?.name === undefined || mac === undefined)
    throw new Error(`network '${definition.name}' has no bridge of its own`);
  return {
    name: bridge.name,
    mac,
    ...(mtu !== undefined && { mtu }),
    isStp: bridge.stp ?? true,
    delaySeconds: bridge.delay ?? 0,
    macTable: bridge.macTableManager ?? 'kernel',
    ...(needsVlans(definition) && { isVlanFiltering: true }),
    ...(definition.vlan && { vlans: portVlansOf(definition.vlan) }),
    ...(bridge.zone !== undefined && { zone: bridge.zone }),
  };
}

function forwardOf(definition: CompleteNetworkDef): ForwardPlan {
  const { forward } = definition;
  const mode: ForwardMode | undefined = (['nat', 'route', 'open', 'none'] as const).find(
    (own) => own === forwardModeOf(definition),
  );
  if (mode === undefined) throw new Error(`network '${definition.name}' has no bridge of its own`);
  return {
    mode,
    devices: forward?.interfaces.map(({ dev }) => dev) ?? [],
    isNatIpv6: forward?.nat?.ipv6 ?? false,
    ...(forward?.nat?.address && { natAddresses: forward.nat.address }),
    ...(forward?.nat?.port && { natPorts: forward.nat.port }),
  };
}

function subnetOf(ip: NetworkIp): SubnetPlan {
  const address = ip.address ?? '';
  const prefix = prefixOf(ip);
  if (prefix === undefined) throw new Error(`'${address}' has no prefix`);
  return {
    family: familyOf(address),
    address,
    prefix,
    isLocalPtr: ip.localPtr ?? false,
    ...(ip.dhcp && { dhcp: dhcpOf(ip.dhcp) }),
    ...(ip.tftpRoot !== undefined && { tftpRoot: ip.tftpRoot }),
  };
}

function leaseTimeOf(lease: DhcpHost['lease']): { readonly leaseTime?: LeaseTime } {
  if (lease === undefined) return {};
  if (lease.expiry === 0) return { leaseTime: 'infinite' };
  return { leaseTime: lease.expiry * leaseUnitSeconds[lease.unit ?? 'minutes'] };
}

function dhcpOf({ ranges, hosts, bootp }: NonNullable<NetworkIp['dhcp']>): DhcpPlan {
  return {
    ranges: ranges.map(({ start, end, lease }) => ({ start, end, ...leaseTimeOf(lease) })),
    hosts: hosts.map(({ mac, id, name, ip, lease }) => ({
      ...(mac !== undefined && { mac }),
      ...(id !== undefined && { id }),
      ...(name !== undefined && { name }),
      ...(ip !== undefined && { address: ip }),
      ...leaseTimeOf(lease),
    })),
    ...(bootp && {
      bootp: { file: bootp.file, ...(bootp.server !== undefined && { server: bootp.server }) },
    }),
  };
}

function routeOf(route: NetworkRoute): RoutePlan {
  const prefix = prefixOf(route);
  if (prefix === undefined) throw new Error(`'${route.address}' has no prefix`);
  return {
    family: familyOf(route.address),
    destination: route.address,
    prefix,
    gateway: route.gateway,
    ...(route.metric !== undefined && { metric: route.metric }),
  };
}

function dnsOf({ dns }: CompleteNetworkDef, { guestNames }: PlanExtras): DnsPlan {
  return {
    isEnabled: dns?.enable ?? true,
    isPlainNamesForwarded: dns?.forwardPlainNames ?? true,
    forwarders: (dns?.forwarders ?? []).map(({ domain, addr }) => ({
      ...(domain !== undefined && { domain }),
      ...(addr !== undefined && { address: addr }),
    })),
    txt: dns?.txt ?? [],
    srv: (dns?.srv ?? []).map(({ service, protocol, ...rest }) => ({
      service,
      protocol,
      ...withoutUndefined(rest),
    })),
    hosts: (dns?.hosts ?? []).map(({ ip, names }) => ({ address: ip, names })),
    guestNames,
  };
}

/** The object without the properties that are undefined: what `exactOptionalPropertyTypes` wants of a copy. */
function withoutUndefined<T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}

/** Limits as the host carries them out; undefined where there are none. */
export function bandwidthPlanOf(bandwidth: CompleteNetworkDef['bandwidth']): BandwidthPlan | undefined {
  const inbound = limitOf(bandwidth?.inbound);
  const outbound = limitOf(bandwidth?.outbound);
  if (inbound === undefined && outbound === undefined) return undefined;
  return { ...(inbound && { inbound }), ...(outbound && { outbound }) };
}

/** The VLANs of a port. One tag is an access port, which sees no tags; several, or a native one, are a trunk. */
export function portVlansOf({ tags, trunk }: Vlan): PortVlan[] {
  const isTrunk = trunk === 'yes' || tags.length > 1 || tags.some((tag) => tag.nativeMode !== undefined);
  return tags.map(({ id, nativeMode }) => ({
    id,
    isNative: !isTrunk || nativeMode !== undefined,
    isUntagged: !isTrunk || nativeMode === 'untagged',
  }));
}

type Rates = NonNullable<NonNullable<CompleteNetworkDef['bandwidth']>['inbound']>;

function limitOf(rates: Rates | undefined): BandwidthLimit | undefined {
  if (rates?.average === undefined) return undefined;
  return {
    averageKBps: rates.average,
    ...(rates.peak !== undefined && { peakKBps: rates.peak }),
    ...(rates.burst !== undefined && { burstKiB: rates.burst }),
  };
}
