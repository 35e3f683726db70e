/** From a few words to a network: NAT or not, a subnet, DHCP on all of it. */
import { formatIp, lastOf, offsetIp, type Subnet } from '../../base/ip.ts';
import type { NetworkDef } from './network.ts';

/** Modes that need nothing of ours but guests' taps: on a bridge that is there, or on interfaces by macvtap. */
export const foreignModes = ['bridge', 'private', 'vepa', 'passthrough'] as const;

/** A network on what the host has already. */
export interface ForeignNetworkWish {
  readonly name: string;
  readonly mode: (typeof foreignModes)[number];
  /** With mode bridge, in place of interfaces. */
  readonly bridge?: string | undefined;
  readonly interfaces: readonly string[];
}

/** No addresses, no names: whoever runs the network outside has them. */
export function foreignNetworkOf({ name, mode, bridge, interfaces }: ForeignNetworkWish): NetworkDef {
  return {
    name,
    metadata: [],
    forward: { mode, interfaces: interfaces.map((dev) => ({ dev, connections: undefined })), addresses: [] },
    ...(bridge !== undefined && { bridge: { name: bridge } }),
    ips: [],
    routes: [],
    portgroups: [],
    dnsmasqOptions: [],
  };
}

export interface NetworkWish {
  readonly name: string;
  readonly mode: 'nat' | 'route' | 'open' | 'none';
  readonly subnet: Subnet;
  readonly bridge?: string | undefined;
  readonly domain?: string | undefined;
  /** Leave out DHCP. */
  readonly noDhcp?: boolean | undefined;
}

/** The gateway is the first address of the subnet; DHCP gives the others. IPv4 subnets of 2 to 24 host bits. */
export function networkOf(wish: NetworkWish): NetworkDef {
  const { name, mode, subnet, bridge, domain, noDhcp = false } = wish;
  const { base, prefix } = subnet;
  const at = (offset: number) => formatIp(offsetIp(base, offset));
  const hosts = 2 ** Math.min(16, 32 - prefix) - 2;
  const end = prefix >= 16 ? formatIp(offsetIp(base, hosts)) : formatIp(offsetIp(base, 65_536));
  return {
    name,
    metadata: [],
    ...(mode !== 'none' && { forward: { mode, interfaces: [], addresses: [] } }),
    // With STP each tap would listen and learn for four seconds first (2 s each is the kernel's least, br_stp.c), and a
    // guest's first requests for an address be lost. Loops need a guest that bridges two cards of its own.
    bridge: { ...(bridge !== undefined && { name: bridge }), stp: false, delay: 0 },
    ...(domain !== undefined && { domain: { name: domain } }),
    ips: [
      {
        address: at(1),
        netmask: formatIp(maskOf(subnet)),
        ...(!noDhcp && { dhcp: { ranges: [{ start: at(2), end }], hosts: [] } }),
      },
    ],
    routes: [],
    portgroups: [],
    dnsmasqOptions: [],
  };
}

function maskOf(subnet: Subnet) {
  const last = lastOf(subnet);
  return {
    family: last.family,
    bytes: last.bytes.map((byte, index) => 255 - (byte ^ (subnet.base.bytes[index] ?? 0))),
  };
}
