/** From a network's plan to dnsmasq's files: pure, and in the order libvirt users know. */
import { VirtError } from '../../base/errors.ts';
import { contains, countOf, type IpAddress, parseIp, subnetOf } from '../../base/ip.ts';
import type { DhcpHost, DhcpPlan, DhcpRange, LeaseTime, NetworkPlan, SrvPlan, SubnetPlan } from '../plan.ts';
import type { DnsmasqKey, DnsmasqLine } from './config-file.ts';

/** Where a network's files lie; all are absolute paths. */
export interface DnsmasqFiles {
  readonly config: string;
  /** DHCP reservations, read again on SIGHUP. */
  readonly hosts: string;
  /** DNS names, read again on SIGHUP. */
  readonly names: string;
  /**
   * False when the user dnsmasq becomes cannot enter their directory: reservations and names then stand in the
   * configuration, which root reads, and a change of them is a restart; names of guests are not told then, since they
   * change with every guest.
   */
  readonly isShared: boolean;
  /** dnsmasq's own lease database. */
  readonly leases: string;
  readonly pid: string;
}

/** dnsmasq's limit on its lease database; a range in IPv6 may have more addresses than anybody counts. */
const MAX_LEASES = 16_777_216;

/** False for a network without an address, or with nothing to serve on it. */
export function needsDnsmasq(plan: NetworkPlan): boolean {
  const { subnets } = plan;
  const hasService = subnets.some(
    ({ family, dhcp, tftpRoot }) => family === 6 || dhcp !== undefined || tftpRoot !== undefined,
  );
  return subnets.length > 0 && (plan.dns.isEnabled || hasService);
}

/** The configuration. `user` is who dnsmasq becomes once its sockets are open. */
export function buildDnsmasqConfig(plan: NetworkPlan, files: DnsmasqFiles, user: string): DnsmasqLine[] {
  return [
    ...generalLines(plan),
    line('user', user),
    line('pid-file', files.pid),
    // Wildcard sockets would answer the whole world (CVE-2012-3411).
    line('except-interface', 'lo'),
    line('bind-dynamic'),
    line('interface', plan.bridge.name),
    ...recordLines(plan),
    ...tftpLines(plan),
    ...dhcpLines(plan, files),
    ...advertisementLines(plan),
  ];
}

function line(key: DnsmasqKey, ...parts: (string | number)[]): DnsmasqLine {
  return { key, parts: parts.map(String) };
}

function generalLines(plan: NetworkPlan): DnsmasqLine[] {
  // The host's own names are none of the guests' business.
  const lines = [line('strict-order'), line('no-hosts')];
  const { dns, domain, forward } = plan;
  if (!dns.isEnabled) lines.push(line('port', 0));
  for (const { domain, address } of dns.forwarders) {
    if (domain === undefined) lines.push(line('server', address ?? '#'));
    else lines.push(line('server', `/${domain}/${address ?? '#'}`));
  }
  const hasUpstream = dns.forwarders.some(({ domain }) => domain === undefined);
  // Guests of an isolated network don't get out by way of our resolver either.
  if (hasUpstream || forward.mode === 'none') lines.push(line('no-resolv'));
  if (domain) {
    if (domain.isLocalOnly) lines.push(line('local', `/${domain.name}/`));
    lines.push(line('domain', domain.name), line('expand-hosts'));
  }
  if (!dns.isPlainNamesForwarded) lines.push(line('domain-needed'), line('local', '//'));
  for (const subnet of plan.subnets.filter(({ isLocalPtr }) => isLocalPtr))
    lines.push(line('local', `/${reverseZone(subnet)}/`));
  return lines;
}

/** The zone of reverse lookups, to whole labels: `122.168.192.in-addr.arpa`. */
export function reverseZone(subnet: Pick<SubnetPlan, 'family' | 'address' | 'prefix'>): string {
  const { bytes } = mustParse(subnet.address);
  const labels =
    subnet.family === 4
      ? bytes.map(String)
      : bytes.flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]);
  const bitsPerLabel = subnet.family === 4 ? 8 : 4;
  const kept = labels.slice(0, Math.floor(subnet.prefix / bitsPerLabel));
  return [...kept.toReversed(), subnet.family === 4 ? 'in-addr.arpa' : 'ip6.arpa'].join('.');
}

function mustParse(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`'${text}' is no IP address, and validation let it pass`);
  return address;
}

function recordLines({ dns }: NetworkPlan): DnsmasqLine[] {
  return [
    ...dns.txt.map(({ name, value }) => line('txt-record', name, value)),
    ...dns.srv.map((record) => line('srv-host', ...srvParts(record))),
  ];
}

/** `_service._protocol[.domain][,target[,port[,priority[,weight]]]]`; trailing parts that are not set are left out. */
function srvParts(record: SrvPlan): string[] {
  const name = `_${record.service}._${record.protocol}${record.domain ? `.${record.domain}` : ''}`;
  if (record.target === undefined || record.target === '.') return [name];
  const numbers = [record.port, record.priority, record.weight];
  const last = numbers.findLastIndex((number) => number !== undefined);
  // A port that must be written to get at what follows is 1, as libvirt has it; the others are 0.
  const parts = numbers.slice(0, last + 1).map((number, index) => String(number ?? (index === 0 ? 1 : 0)));
  return [name, record.target, ...parts];
}

function tftpLines(plan: NetworkPlan): DnsmasqLine[] {
  const root = plan.subnets.find(({ tftpRoot }) => tftpRoot !== undefined)?.tftpRoot;
  return root === undefined ? [] : [line('enable-tftp'), line('tftp-root', root)];
}

function dhcpLines(plan: NetworkPlan, files: DnsmasqFiles): DnsmasqLine[] {
  const served = plan.subnets.filter(hasDhcp);
  const lines: DnsmasqLine[] = [];
  // No gateway to announce where nothing leads out.
  if (plan.forward.mode === 'none' && served.some(({ family }) => family === 4))
    lines.push(line('dhcp-option', 'option:router'));
  for (const subnet of served) {
    lines.push(...rangeLines(subnet, subnet.dhcp));
    const { bootp } = subnet.dhcp;
    if (bootp) lines.push(line('dhcp-boot', bootp.file, ...(bootp.server ? ['', bootp.server] : [])));
  }
  if (served.some(({ family }) => family === 4))
    lines.push(line('dhcp-no-override'), line('dhcp-authoritative'));
  if (served.length > 0) {
    const count = served
      .flatMap(({ dhcp }) => dhcp.ranges)
      .reduce((sum, { start, end }) => sum + countOf(mustParse(start), mustParse(end)), 0);
    if (count > 0) lines.push(line('dhcp-lease-max', Math.min(count, MAX_LEASES)));
    lines.push(line('dhcp-leasefile', files.leases), ...reservationLines(plan, files));
  }
  if (plan.dns.isEnabled) lines.push(...nameLines(plan, files));
  if (plan.bridge.mtu !== undefined && served.some(({ family }) => family === 4))
    lines.push(line('dhcp-option', 'option:mtu', plan.bridge.mtu));
  return lines;
}

function reservationLines(plan: NetworkPlan, { isShared, hosts }: DnsmasqFiles): DnsmasqLine[] {
  if (isShared) return [line('dhcp-hostsfile', hosts)];
  return reservations(plan).map((words) => line('dhcp-host', ...words));
}

function nameLines(plan: NetworkPlan, { isShared, names }: DnsmasqFiles): DnsmasqLine[] {
  if (isShared) return [line('addn-hosts', names)];
  const domain = plan.domain?.name;
  return plan.dns.hosts.map((host) => {
    checkWords([host.address, ...host.names]);
    // `expand-hosts` is for files only.
    const full = domain === undefined ? [] : host.names.map((name) => `${name}.${domain}`);
    return line('host-record', ...host.names, ...full, host.address);
  });
}

function hasDhcp(subnet: SubnetPlan): subnet is SubnetPlan & { dhcp: DhcpPlan } {
  const { dhcp } = subnet;
  return dhcp !== undefined && dhcp.ranges.length + dhcp.hosts.length > 0;
}

function rangeLines(subnet: SubnetPlan, dhcp: DhcpPlan): DnsmasqLine[] {
  // IPv4 wants the netmask and IPv6 the prefix length after the range.
  const size = subnet.family === 4 ? netmask(subnet.prefix) : String(subnet.prefix);
  if (dhcp.ranges.length === 0) return [line('dhcp-range', subnet.address, 'static', size)];
  return dhcp.ranges.map((range) => line('dhcp-range', ...rangeParts(range, size)));
}

function rangeParts(range: DhcpRange, size: string): string[] {
  return [range.start, range.end, size, ...leaseParts(range.leaseTime)];
}

/** dnsmasq takes no lease shorter than two minutes. */
const LEAST_LEASE_SECONDS = 120;

function leaseParts(time: LeaseTime | undefined): string[] {
  if (time === undefined) return [];
  return [time === 'infinite' ? time : String(Math.max(time, LEAST_LEASE_SECONDS))];
}

/** `255.255.255.0` for 24. */
function netmask(prefix: number): string {
  return subnetOf({ family: 4, bytes: [255, 255, 255, 255] }, prefix).base.bytes.join('.');
}

/** Router advertisements: with DHCPv6 as `enable-ra`, without it as a range that only advertises. */
function advertisementLines(plan: NetworkPlan): DnsmasqLine[] {
  const six = plan.subnets.filter(({ family }) => family === 6);
  if (six.length === 0) return [];
  const lines = six.some(hasDhcp)
    ? [line('enable-ra')]
    : six.map(({ address }) => line('dhcp-range', address, 'ra-only'));
  // Lifetime 0: the host is no default router for an isolated network.
  if (plan.forward.mode === 'none') lines.push(line('ra-param', '*', '0', '0'));
  return lines;
}

/** The text of the reservations' file (dnsmasq(8), --dhcp-host), one a line. */
export function buildHostsFile(plan: NetworkPlan): string {
  return fileText(reservations(plan), ',');
}

function reservations(plan: NetworkPlan): string[][] {
  const all = plan.subnets.flatMap(({ dhcp }) => dhcp?.hosts ?? []).map(hostParts);
  for (const words of all) checkWords(words);
  return all;
}

function hostParts(host: DhcpHost): string[] {
  const address = host.address?.includes(':') ? `[${host.address}]` : host.address;
  const parts = [
    host.mac,
    host.id === undefined ? undefined : `id:${host.id}`,
    // The name stands after an IPv4 address and before an IPv6 one, where libvirt's users look for it.
    ...(host.address?.includes(':') ? [host.name, address] : [address, host.name]),
    ...leaseParts(host.leaseTime),
  ];
  return parts.filter((part) => part !== undefined);
}

/** The text of the names' file, in the format of hosts(5): the definition's, then those of running guests. */
export function buildNamesFile({ dns }: NetworkPlan): string {
  return fileText(
    [...dns.hosts, ...dns.guestNames].map(({ address, names }) => [address, ...names]),
    '\t',
  );
}

/** Nothing that divides words or lines, or begins a comment, may be in a word. */
const fileWord = /^[A-Za-z0-9_.:*[\]-]+$/;

function fileText(lines: readonly (readonly string[])[], divider: string): string {
  for (const words of lines) checkWords(words);
  return lines.map((words) => `${words.join(divider)}\n`).join('');
}

function checkWords(words: readonly string[]): void {
  const bad = words.find((word) => !fileWord.test(word));
  if (bad !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted: 'write the host files of dnsmasq',
      reason: `'${bad.slice(0, 40)}' cannot be written there`,
    });
}

/** The prefix length of the subnet an address is in; the family's full length when it is in none. */
export function prefixFor(plan: NetworkPlan, address: IpAddress): number {
  const home = plan.subnets.find((subnet) =>
    contains(subnetOf(mustParse(subnet.address), subnet.prefix), address),
  );
  return home?.prefix ?? (address.family === 4 ? 32 : 128);
}
