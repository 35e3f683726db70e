/** Steps inside the network: the bridge, DHCP, DNS, the gateway, IPv6. */
import { readFileSync } from 'node:fs';
import { errnoOf } from '../../base/errors.ts';
import { formatIp, offsetIp, parseIp, prefixOfMask, subnetOf } from '../../base/ip.ts';
import type { SubnetPlan } from '../plan.ts';
import {
  DHCP_CLIENT_PORT,
  DHCP_SERVER_PORT,
  type DhcpAnswer,
  type DhcpRequest,
  decodeDhcp,
  encodeDhcp,
} from './dhcp-message.ts';
import { DNS_PORT, type DnsAnswer, decodeAnswer, encodeQuestion } from './dns-message.ts';
import {
  ANY_ADDRESS,
  BROADCAST_MAC,
  decodeIcmp,
  decodeUdp,
  type Frame,
  routerSolicitation,
  udpPacket,
} from './frames.ts';
import { stepsOf, subnetFour, type TestContext, type TestStep } from './step.ts';

/** BR_STATE_FORWARDING (linux/if_bridge.h). */
const FORWARDING = '3';

/** The kernel's least delay with STP, whatever is asked for (BR_MIN_FORWARD_DELAY, net/bridge/br_private.h). */
const LEAST_STP_DELAY_SECONDS = 2;

/** Waits until the bridge forwards what the tap sends, which takes twice its delay with STP. */
export async function linkStep({ plan, signal }: TestContext, tap: string): Promise<TestStep> {
  const step = stepsOf('link', 'Bridge');
  const { name, isStp, delaySeconds } = plan.bridge;
  const limitMs = 2000 + (isStp ? 2000 * Math.max(delaySeconds, LEAST_STP_DELAY_SECONDS) : 0);
  const begun = performance.now();
  while (portState(tap) !== FORWARDING) {
    if (signal.aborted || performance.now() - begun > limitMs)
      return step.failed(
        `${tap} is on ${name}, which does not forward (port state ${portState(tap) ?? 'unknown'})`,
        `vireo network reload ${plan.name}; 'ip -d link show ${name}' tells more`,
      );
    await new Promise((done) => setTimeout(done, 20));
  }
  return step.ok(`${tap} is on ${name} and may send`);
}

function portState(tap: string): string | undefined {
  try {
    return readFileSync(`/sys/class/net/${tap}/brport/state`, 'utf8').trim();
  } catch (error) {
    if (['ENOENT', 'ENODEV'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** Gets a lease as a guest does; without DHCP in the network the probe takes an address that nobody has. */
export async function dhcpStep(context: TestContext): Promise<TestStep> {
  const { plan, probe, found } = context;
  const step = stepsOf('dhcp', 'DHCP');
  const subnet = subnetFour(plan);
  if (subnet === undefined) return step.skipped('the network has no IPv4 address');
  if (subnet.dhcp === undefined || subnet.dhcp.ranges.length === 0) {
    probe.address = await freeAddress(context, subnet);
    return step.skipped(
      probe.address === undefined
        ? 'the network gives out no addresses, and no free one was found'
        : `the network gives out no addresses; the test takes ${probe.address}`,
    );
  }
  const offer = await exchange(context, { kind: 'discover' }, 'offer');
  if (offer === undefined) return step.failed('nobody answered a DHCP discover', dhcpRepair(context));
  const { address, server } = offer;
  const ack = await exchange(
    context,
    { kind: 'request', address, ...(server !== undefined && { server }) },
    'ack',
  );
  if (ack === undefined)
    return step.failed(`${server} offered ${address}, and then did not give it`, dhcpRepair(context));
  probe.address = ack.address;
  if (ack.server !== undefined) found.dhcpServer = ack.server;
  const odd = oddAnswer(ack, subnet);
  if (odd !== undefined)
    return step.failed(
      odd,
      `another DHCP server is on bridge ${plan.bridge.name}: find the guest that runs it`,
    );
  return step.ok(leaseText(ack));
}

function leaseText({ address, mask, server, router, dns, leaseSeconds }: DhcpAnswer): string {
  const prefix = mask === undefined ? undefined : parseIp(mask);
  const bits = prefix && prefixOfMask(prefix);
  return [
    `${address}${bits === undefined ? '' : `/${bits}`} from ${server ?? 'a server without a name'}`,
    router === undefined ? 'no router' : `router ${router}`,
    dns.length === 0 ? 'no DNS' : `DNS ${dns.join(' ')}`,
    ...(leaseSeconds === undefined ? [] : [`for ${leaseSeconds} s`]),
  ].join(', ');
}

/** A lease that our own server would not have given. */
function oddAnswer({ server }: DhcpAnswer, subnet: SubnetPlan): string | undefined {
  return server === undefined || server === subnet.address
    ? undefined
    : `${server} gave the lease, and not the network's own server ${subnet.address}`;
}

function dhcpRepair({ plan, host }: TestContext): string {
  const other = host.firewall.isFirewalldRunning
    ? `; firewalld runs: 'firewall-cmd --get-zone-of-interface=${plan.bridge.name}' should say libvirt or trusted`
    : '';
  return `vireo network reload ${plan.name}; if that does not help, a firewall of the host may drop UDP port 67 on ${plan.bridge.name}: see 'vireo host check'${other}`;
}

type Wish = Pick<DhcpRequest, 'kind' | 'address' | 'server'>;

function exchange(
  { probe, found }: TestContext,
  wish: Wish,
  expected: DhcpAnswer['kind'],
): Promise<DhcpAnswer | undefined> {
  const transaction = Math.floor(Math.random() * 0xffff_ffff);
  const data = encodeDhcp({ ...wish, transaction, mac: probe.mac, hostName: found.hostName });
  const packet = udpPacket(
    { source: ANY_ADDRESS, destination: '255.255.255.255' },
    { sourcePort: DHCP_CLIENT_PORT, destinationPort: DHCP_SERVER_PORT, data },
  );
  return probe.ask(
    () => probe.sendTo(BROADCAST_MAC, packet),
    (frame) => {
      const answer = udpIn(frame, DHCP_CLIENT_PORT, decodeDhcp);
      return answer?.transaction === transaction && answer.kind === expected ? answer : undefined;
    },
    // dnsmasq pings an address before it offers it, for up to three seconds.
    2000,
    3,
  );
}

/** Gives the lease back. */
export function releaseLease({ probe, found, plan }: TestContext): void {
  const { address } = probe;
  const server = found.dhcpServer;
  if (address === undefined || server === undefined) return;
  const data = encodeDhcp({
    kind: 'release',
    transaction: Math.floor(Math.random() * 0xffff_ffff),
    mac: probe.mac,
    hostName: found.hostName,
    address,
    server,
  });
  const ports = { sourcePort: DHCP_CLIENT_PORT, destinationPort: DHCP_SERVER_PORT };
  probe.sendTo(
    found.gatewayMac ?? plan.bridge.mac,
    udpPacket({ source: address, destination: server }, { ...ports, data }),
  );
}

/** What a UDP datagram to that port says. */
function udpIn<Message>(
  frame: Frame,
  port: number,
  decode: (data: Buffer) => Message | undefined,
): Message | undefined {
  const udp = frame.kind === 'ip' ? decodeUdp(frame) : undefined;
  return udp?.destinationPort === port ? decode(udp.data) : undefined;
}

/** How many addresses are tried from the end of the subnet. */
const MAX_TRIES = 4;

async function freeAddress(
  { probe }: TestContext,
  { address, prefix }: SubnetPlan,
): Promise<string | undefined> {
  const own = parseIp(address);
  if (own === undefined) return undefined;
  const { base } = subnetOf(own, prefix);
  // Neither the subnet's own address nor the one for all of it.
  const last = 2 ** (32 - prefix) - 2;
  for (let offset = last; offset > Math.max(last - MAX_TRIES, 0); offset--) {
    const candidate = formatIp(offsetIp(base, offset));
    if (candidate !== address && (await probe.arp(candidate)) === undefined) return candidate;
  }
  return undefined;
}

/** The gateway's MAC address by ARP, then a ping. */
export async function gatewayStep({ plan, probe, found }: TestContext): Promise<TestStep> {
  const step = stepsOf('gateway', 'Gateway');
  const gateway = subnetFour(plan)?.address;
  if (gateway === undefined || probe.address === undefined)
    return step.skipped('the test has no IPv4 address');
  const mac = await probe.arp(gateway);
  const repair = `vireo network reload ${plan.name}; 'ip address show ${plan.bridge.name}' should have ${gateway}`;
  if (mac === undefined) return step.failed(`nobody answers ARP for ${gateway}`, repair);
  if (mac !== plan.bridge.mac)
    return step.failed(
      `${mac} says that it is ${gateway}, and the bridge is ${plan.bridge.mac}`,
      "a guest has taken the gateway's address: give guests the filter 'clean-traffic'",
    );
  found.gatewayMac = mac;
  const answer = await probe.ping(gateway, mac, probe.address);
  if (answer?.isAnswer === true) return step.ok(`${gateway} is ${mac} and answers pings`);
  return step.failed(
    `${gateway} is ${mac}, but does not answer pings`,
    `a firewall of the host drops ICMP on ${plan.bridge.name}; guests can do without, but tools will think the host is down`,
  );
}

/** Names of the network itself: the probe's own, which its lease has brought, or one of the definition. */
export async function ownNamesStep(context: TestContext): Promise<TestStep> {
  const { plan, probe, found } = context;
  const step = stepsOf('dns-own', 'DNS: names of guests');
  const missing = noDns(context);
  if (missing !== undefined) return step.skipped(missing);
  const fixed = plan.dns.hosts.find(({ address }) => !address.includes(':'));
  const known =
    found.dhcpServer === undefined
      ? fixed && { name: fixed.names[0] ?? '', address: fixed.address }
      : { name: nameIn(plan.domain?.name, found.hostName), address: probe.address ?? '' };
  if (known === undefined) return step.skipped('the network has no lease and no name to ask for');
  const answer = await lookUp(context, known.name);
  if (answer === undefined) return step.failed('the DNS server does not answer', dnsRepair(context));
  if (answer.addresses.includes(known.address)) return step.ok(`${known.name} is ${known.address}`);
  return step.failed(
    `${known.name} should be ${known.address}, and the answer was ${answerText(answer)}`,
    dnsRepair(context),
  );
}

const nameIn = (domain: string | undefined, name: string) =>
  domain === undefined ? name : `${name}.${domain}`;

function noDns({ plan, probe, found }: TestContext): string | undefined {
  if (!plan.dns.isEnabled) return 'the network has no DNS server (<dns enable="no"/>)';
  if (probe.address === undefined || found.gatewayMac === undefined) return 'the gateway was not reached';
  return undefined;
}

/** Names of others, which our server asks the host's servers for. */
export async function outsideNamesStep(context: TestContext): Promise<TestStep> {
  const { plan, host, options } = context;
  const step = stepsOf('dns-outside', 'DNS: names outside');
  const missing = noDns(context);
  if (missing !== undefined) return step.skipped(missing);
  const { outsideName: name = 'example.com' } = options;
  if (plan.forward.mode === 'none' && plan.dns.forwarders.length === 0)
    return step.skipped('an isolated network asks nobody outside');
  const answer = await lookUp(context, name);
  if (answer !== undefined && ['NOERROR', 'NXDOMAIN'].includes(answer.code))
    return step.ok(`${name}: ${answerText(answer)}`);
  const seen = answer === undefined ? 'no answer' : answerText(answer);
  if (!hasWayOut(context))
    return step.skipped(`${name}: ${seen}; the host itself has no route to the outside`);
  const servers = host.addresses.length === 0 ? '' : " The host's own servers are in /etc/resolv.conf.";
  return step.failed(
    `${name}: ${seen}`,
    `try 'getent hosts ${name}' on the host; if that works, name a server with <dns><forwarder addr='…'/></dns>.${servers}`,
  );
}

export const hasWayOut = ({ host }: TestContext): boolean =>
  host.routes.some(({ family, prefix }) => family === 4 && prefix === 0);

const answerText = ({ code, addresses }: DnsAnswer): string =>
  addresses.length === 0 ? code : addresses.join(' ');

function dnsRepair({ plan }: TestContext): string {
  return `vireo network reload ${plan.name}; if that does not help, a firewall of the host may drop UDP port 53 on ${plan.bridge.name}: see 'vireo host check'`;
}

function lookUp({ probe, plan, found }: TestContext, name: string): Promise<DnsAnswer | undefined> {
  const server = subnetFour(plan)?.address ?? ANY_ADDRESS;
  const id = Math.floor(Math.random() * 0xffff);
  const port = 49_152 + Math.floor(Math.random() * 16_000);
  const packet = udpPacket(
    { source: probe.address ?? ANY_ADDRESS, destination: server },
    { sourcePort: port, destinationPort: DNS_PORT, data: encodeQuestion(id, name) },
  );
  return probe.ask(
    () => probe.sendTo(found.gatewayMac ?? plan.bridge.mac, packet),
    (frame) => {
      const answer = udpIn(frame, port, decodeAnswer);
      return answer?.id === id ? answer : undefined;
    },
    1500,
    2,
  );
}

/** MAC address of ff02::2, all routers (RFC 2464, 7). */
const ALL_ROUTERS = { address: 'ff02::2', mac: '33:33:00:00:00:02' };

/** A router advertisement from the bridge, and a ping to the gateway's address. */
export async function ipv6Step({ plan, probe }: TestContext): Promise<TestStep | undefined> {
  const subnet = plan.subnets.find(({ family }) => family === 6);
  if (subnet === undefined) return undefined;
  const step = stepsOf('ipv6', 'IPv6');
  const ends = { source: probe.linkLocal, destination: ALL_ROUTERS.address };
  const router = await probe.ask(
    () => probe.sendTo(ALL_ROUTERS.mac, routerSolicitation(ends, probe.mac)),
    (frame) => (frame.kind === 'ip' && decodeIcmp(frame)?.type === 134 ? frame.source : undefined),
  );
  const repair = `vireo network reload ${plan.name}; 'ip -6 address show ${plan.bridge.name}' should have ${subnet.address}, without 'tentative'`;
  if (router === undefined) return step.failed('nobody sent a router advertisement', repair);
  const mac = await probe.neighbour(subnet.address);
  if (mac === undefined)
    return step.failed(`${router} advertises itself, but nobody answers for ${subnet.address}`, repair);
  const answer = await probe.ping(subnet.address, mac, probe.linkLocal);
  if (answer?.isAnswer === true)
    return step.ok(`${router} advertises itself, ${subnet.address} answers pings`);
  return step.failed(`${router} advertises itself, but ${subnet.address} does not answer pings`, repair);
}
