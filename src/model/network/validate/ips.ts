/** `<ip>` and `<route>`: addresses that a bridge can have, DHCP inside its subnet, nothing given twice. */
import type { Problem } from '../../../base/errors.ts';
import {
  bitsOf,
  compareIp,
  contains,
  countOf,
  formatSubnet,
  type IpAddress,
  isSameIp,
  lastOf,
  overlaps,
  parseIp,
  parseSubnet,
  type Subnet,
  subnetOf,
} from '../../../base/ip.ts';
import { familyOf, prefixOf, subnetOfIp } from '../addresses.ts';
import type { Dhcp, DhcpHost, NetworkIp, NetworkRoute } from '../ip.ts';
import { hasOwnBridge, type NetworkDef } from '../network.ts';

export function ipProblems(definition: NetworkDef): Problem[] {
  if (!hasOwnBridge(definition)) return []; // Such a network has no addresses at all: forward.ts says so.
  return [
    ...definition.ips.flatMap((ip, i) => oneIp(ip, `ip[${i}]`)),
    ...overlapProblems(definition.ips),
    ...secondServers(definition.ips),
    ...definition.routes.flatMap((route, i) => routeProblems(route, definition, `route[${i}]`)),
  ];
}

/** Addresses that no interface can have (RFC 6890). */
const unusable: readonly (readonly [string, string])[] = [
  ['0.0.0.0/8', 'is no address of a host'],
  ['127.0.0.0/8', 'is a loopback address'],
  ['224.0.0.0/4', 'is a multicast address'],
  ['240.0.0.0/4', 'is a reserved address'],
  ['::/127', 'is no address of a network'],
  ['ff00::/8', 'is a multicast address'],
  ['::ffff:0:0/96', 'is an IPv4 address in the form of IPv6'],
];

function unusableReason(address: IpAddress): string | undefined {
  return unusable.find(([text]) => {
    const subnet = parseSubnet(text);
    return subnet !== undefined && contains(subnet, address);
  })?.[1];
}

function oneIp(ip: NetworkIp, path: string): Problem[] {
  if (ip.address === undefined) return [{ path: `${path}.address`, message: 'is missing' }];
  const address = parseIp(ip.address);
  if (address === undefined) return [{ path: `${path}.address`, message: 'is not an IP address' }];
  const maskProblem = maskProblems(ip, path);
  const subnet = subnetOfIp(ip);
  if (maskProblem.length > 0 || subnet === undefined) return maskProblem;
  return [
    ...addressProblems(address, subnet, path),
    ...tftpProblems(ip.tftpRoot, address, `${path}.tftp`),
    ...(ip.dhcp ? dhcpProblems(ip.dhcp, { address, subnet, path: `${path}.dhcp` }) : []),
  ];
}

/** Where secrets of the host lie, or the kernel's files: nothing of it is for guests, whoever may read it. */
const unservable = /^\/($|(etc|root|proc|sys|dev|run|var\/run)(\/|$))/;

function tftpProblems(root: string | undefined, address: IpAddress, path: string): Problem[] {
  if (root === undefined) return [];
  if (address.family === 6) return [{ path, message: 'is served over IPv4 only' }];
  const isClean = !root.split('/').includes('..');
  return isClean && !unservable.test(root.replaceAll(/\/+/g, '/'))
    ? []
    : [{ path: `${path}.root`, message: `'${root.slice(0, 60)}' is no directory to serve to guests` }];
}

/** What can be wrong with the three ways to tell a mask. */
function maskProblems(
  entry: Pick<NetworkIp, 'address' | 'netmask' | 'prefix' | 'family'>,
  path: string,
): Problem[] {
  const { address = '', netmask, prefix, family } = entry;
  const actual = familyOf(address);
  const problems: Problem[] = [];
  if (family !== undefined && family !== `ipv${actual}`)
    problems.push({ path: `${path}.family`, message: `is ${family}, but ${address} is IPv${actual}` });
  if (netmask !== undefined && prefix !== undefined)
    problems.push({ path: `${path}.prefix`, message: 'is given beside a netmask; one of them is enough' });
  if (netmask !== undefined && actual === 6)
    problems.push({ path: `${path}.netmask`, message: 'is for IPv4; give a prefix' });
  else if (prefixOf(entry) === undefined)
    problems.push(
      prefix === undefined
        ? { path: `${path}.netmask`, message: `'${netmask}' is not a netmask` }
        : { path: `${path}.prefix`, message: `is out of range (at most ${bitsOf(actual)})` },
    );
  return problems;
}

function addressProblems(address: IpAddress, subnet: Subnet, path: string): Problem[] {
  const reason = unusableReason(address);
  if (reason !== undefined) return [{ path: `${path}.address`, message: reason }];
  const { prefix } = subnet;
  const [least, most] = address.family === 4 ? [8, 30] : [16, 126];
  if (prefix < least || prefix > most)
    return [{ path, message: `a prefix of ${prefix} is out of range (${least} to ${most})` }];
  if (isSameIp(address, subnet.base))
    return [
      { path: `${path}.address`, message: `is the address of the subnet ${formatSubnet(subnet)} itself` },
    ];
  if (address.family === 4 && isSameIp(address, lastOf(subnet)))
    return [{ path: `${path}.address`, message: `is the broadcast address of ${formatSubnet(subnet)}` }];
  return [];
}

interface Around {
  /** The bridge's own address. */
  readonly address: IpAddress;
  readonly subnet: Subnet;
  readonly path: string;
}

function dhcpProblems(dhcp: Dhcp, around: Around): Problem[] {
  const { subnet, path } = around;
  // dnsmasq(8): a dhcp-range of IPv6 has a prefix of 64 at least.
  if (subnet.base.family === 6 && subnet.prefix < 64)
    return [{ path, message: `DHCPv6 needs a prefix of at least 64, not ${subnet.prefix}` }];
  const bootp =
    dhcp.bootp !== undefined && subnet.base.family === 6
      ? [{ path: `${path}.bootp`, message: 'is for IPv4 only' }]
      : [];
  return [...rangeProblems(dhcp, around), ...hostProblems(dhcp.hosts, around), ...bootp];
}

/** A range that is longer than this makes dnsmasq slow, and no bridge has that many ports. */
const MAX_RANGE = 65_536;

function rangeProblems(dhcp: Dhcp, around: Around): Problem[] {
  const { path } = around;
  const seen: { readonly start: IpAddress; readonly end: IpAddress; readonly path: string }[] = [];
  return dhcp.ranges.flatMap((range, i): Problem[] => {
    const at = `${path}.range[${i}]`;
    const start = parseIp(range.start);
    const end = parseIp(range.end);
    const problems = [
      ...insideProblems(start, `${at}.start`, around),
      ...insideProblems(end, `${at}.end`, around),
      ...leaseProblems(range.lease, `${at}.lease`),
    ];
    if (start === undefined || end === undefined || problems.length > 0) return problems;
    const count = countOf(start, end);
    if (count < 1) return [{ path: `${at}.end`, message: 'is before the start' }];
    if (count > MAX_RANGE && start.family === 4)
      return [{ path: at, message: `has ${count} addresses, more than ${MAX_RANGE}` }];
    const other = seen.find((one) => compareIp(one.start, end) <= 0 && compareIp(start, one.end) <= 0);
    seen.push({ start, end, path: at });
    return other === undefined ? [] : [{ path: at, message: `overlaps with ${other.path}` }];
  });
}

function insideProblems(address: IpAddress | undefined, path: string, { subnet }: Around): Problem[] {
  if (address === undefined) return [{ path, message: 'is not an IP address' }];
  if (!contains(subnet, address)) return [{ path, message: `is outside of ${formatSubnet(subnet)}` }];
  if (isSameIp(address, subnet.base))
    return [{ path, message: `is the address of the subnet ${formatSubnet(subnet)} itself` }];
  if (address.family === 4 && isSameIp(address, lastOf(subnet)))
    return [{ path, message: `is the broadcast address of ${formatSubnet(subnet)}` }];
  return [];
}

/** How many seconds one unit has. */
export const leaseUnitSeconds = { seconds: 1, minutes: 60, hours: 3600 } as const;

function leaseProblems(lease: DhcpHost['lease'], path: string): Problem[] {
  if (lease === undefined || lease.expiry === 0) return [];
  const seconds = lease.expiry * leaseUnitSeconds[lease.unit ?? 'minutes'];
  // dnsmasq(8), dhcp-range: the least is two minutes; the protocol's field has 32 bits, all ones is for ever.
  return seconds >= 120 && seconds < 0xffff_ffff
    ? []
    : [{ path: `${path}.expiry`, message: 'must be 0 (for ever), or from 2 minutes to 136 years' }];
}

function hostProblems(hosts: readonly DhcpHost[], around: Around): Problem[] {
  const seen = {
    mac: new Set<string>(),
    id: new Set<string>(),
    name: new Set<string>(),
    ip: new Set<string>(),
  };
  return hosts.flatMap((host, i) => {
    const at = `${around.path}.host[${i}]`;
    const problems = [...oneHost(host, at, around)];
    for (const key of ['mac', 'id', 'name', 'ip'] as const) {
      const value = host[key]?.toLowerCase();
      if (value === undefined) continue;
      if (seen[key].has(value))
        problems.push({ path: `${at}.${key}`, message: `${value} is given to another host too` });
      seen[key].add(value);
    }
    return problems;
  });
}

function oneHost(host: DhcpHost, at: string, around: Around): Problem[] {
  const problems = leaseProblems(host.lease, `${at}.lease`);
  const isV6 = around.subnet.base.family === 6;
  if (host.mac === undefined && host.id === undefined && host.name === undefined)
    problems.push({ path: at, message: 'has neither mac, id nor name to know the host by' });
  if (host.mac !== undefined && isV6)
    problems.push({ path: `${at}.mac`, message: 'is for IPv4; use id or name' });
  if (host.id !== undefined && !isV6) problems.push({ path: `${at}.id`, message: 'is for IPv6 only' });
  if (host.ip === undefined) {
    if (host.name === undefined || host.mac === undefined)
      problems.push({ path: `${at}.ip`, message: 'is missing' });
    return problems;
  }
  const address = parseIp(host.ip);
  problems.push(...insideProblems(address, `${at}.ip`, around));
  if (address !== undefined && isSameIp(address, around.address))
    problems.push({ path: `${at}.ip`, message: "is the network's own address" });
  return problems;
}

function overlapProblems(list: readonly NetworkIp[]): Problem[] {
  const subnets = list.map((ip) => subnetOfIp(ip));
  return subnets.flatMap((subnet, i) => {
    const other = subnets.findIndex((one, j) => j < i && one && subnet && overlaps(one, subnet));
    return subnet === undefined || other === -1
      ? []
      : [{ path: `ip[${i}]`, message: `${formatSubnet(subnet)} overlaps with ip[${other}]` }];
  });
}

/** One DHCP server for each family, and one TFTP server: dnsmasq has one table of hosts and one root. */
function secondServers(list: readonly NetworkIp[]): Problem[] {
  const problems: Problem[] = [];
  for (const family of [4, 6] as const) {
    const served = list.flatMap((ip, i) => (ip.dhcp && familyOf(ip.address ?? '') === family ? [i] : []));
    if (served.length > 1)
      problems.push({
        path: `ip[${served[1]}].dhcp`,
        message: `is the second one for IPv${family}; there can be one`,
      });
  }
  const tftp = list.flatMap((ip, i) => (ip.tftpRoot === undefined ? [] : [i]));
  if (tftp.length > 1)
    problems.push({ path: `ip[${tftp[1]}].tftp`, message: 'is the second one; there can be one' });
  return problems;
}

function routeProblems(route: NetworkRoute, definition: NetworkDef, path: string): Problem[] {
  const problems = maskProblems(route, path);
  const address = parseIp(route.address);
  const gateway = parseIp(route.gateway);
  const prefix = prefixOf(route);
  if (problems.length > 0 || address === undefined || gateway === undefined || prefix === undefined)
    return problems;
  if (gateway.family !== address.family)
    return [{ path: `${path}.gateway`, message: 'is of another family than the address' }];
  if (!isSameIp(subnetOf(address, prefix).base, address))
    problems.push({ path: `${path}.address`, message: `has bits beyond its prefix of ${prefix}` });
  const reachable = definition.ips.some((ip) => {
    const subnet = subnetOfIp(ip);
    return subnet !== undefined && contains(subnet, gateway);
  });
  if (!reachable) problems.push({ path: `${path}.gateway`, message: 'is in no subnet of this network' });
  if (definition.ips.some((ip) => ip.address === route.gateway))
    problems.push({ path: `${path}.gateway`, message: "is the network's own address" });
  return problems;
}
