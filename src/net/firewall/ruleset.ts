/** The packet filter rules of one network as data, the same for every backend. Pure. */
import { VirtError } from '../../base/errors.ts';
import { formatSubnet, parseIp, subnetOf } from '../../base/ip.ts';
import type { Family, ForwardPlan, NetworkPlan, PortForward, SubnetPlan } from '../plan.ts';

/**
 * Where a rule stands. The first five are libvirt's: to and from the host itself, and for forwarded packets between
 * guests, to guests and from guests; then source NAT, repairs of DHCP answers, and what port forwards need.
 */
export const ruleChains = [
  'input',
  'output',
  'cross',
  'guestInput',
  'guestOutput',
  'sourceNat',
  'repair',
  'forwardIn',
  'forwardLocal',
  'guard',
] as const;

export type RuleChain = (typeof ruleChains)[number];

/** All conditions that are given must hold. Subnets and addresses are in the form `192.168.122.0/24`. */
export interface RuleMatch {
  readonly source?: string;
  readonly destination?: string;
  readonly notDestination?: string;
  readonly inInterface?: string;
  readonly outInterface?: string;
  readonly protocol?: 'tcp' | 'udp';
  readonly destinationPorts?: PortRange;
  /** Connection tracking: answers, or connections whose destination was rewritten. */
  readonly connection?: 'answers' | 'redirected';
  /** The destination is an address of this host. */
  readonly isToHost?: true;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export type RuleAction =
  | { readonly kind: 'accept' | 'drop' | 'reject' | 'return' | 'fill-checksum' }
  | { readonly kind: 'masquerade'; readonly ports?: PortRange }
  | {
      readonly kind: 'source-nat';
      readonly first: string;
      readonly last: string;
      readonly ports?: PortRange;
    }
  /** Without a port the packet keeps its own. */
  | { readonly kind: 'redirect'; readonly address: string; readonly port?: number };

export interface FirewallRule {
  readonly family: Family;
  readonly chain: RuleChain;
  readonly match: RuleMatch;
  readonly action: RuleAction;
}

/**
 * The rules of a network, in the order they must stand within each chain.
 * @throws VirtError definition.unsupported for a port forward into an isolated network, whose guests know no way back
 */
export function buildRuleset(plan: NetworkPlan): FirewallRule[] {
  if (plan.forward.mode === 'none' && plan.portForwards.length > 0)
    throw new VirtError('definition.unsupported', {
      wanted: `forward ports into network '${plan.name}'`,
      reason: 'the network is isolated',
      hint: "use a network with <forward mode='nat'/> or 'route'",
    });
  // `open` means: whoever runs the host writes the rules, all but those asked of us.
  const families = plan.forward.mode === 'open' ? [] : ([4, 6] as const);
  const rules = [
    ...families.flatMap((family) => familyRules(plan, family)),
    ...plan.portForwards.flatMap((forward) => portForwardRules(plan, forward)),
  ];
  return withoutRepeats(rules).toSorted((a, b) => rank(a) - rank(b));
}

/** Several port forwards need the same guard. */
function withoutRepeats(rules: readonly FirewallRule[]): FirewallRule[] {
  return [...new Map(rules.map((rule) => [JSON.stringify(rule), rule])).values()];
}

/** Accepting rules for port forwards must stand before the rejection that ends a network's part of a chain. */
function rank(rule: FirewallRule): number {
  if (rule.action.kind === 'reject') return 2;
  return rule.match.connection === 'redirected' ? 0 : 1;
}

function familyRules(plan: NetworkPlan, family: Family): FirewallRule[] {
  const bridge = plan.bridge.name;
  const subnets = plan.subnets.filter((subnet) => subnet.family === family);
  const rule = ruleOf(family);
  return [
    ...(subnets.length > 0 ? serviceRules(plan, subnets, family) : []),
    rule('cross', { inInterface: bridge, outInterface: bridge }, { kind: 'accept' }),
    ...subnets.flatMap((subnet) => forwardRules(plan, subnet)),
    rule('guestInput', { outInterface: bridge }, { kind: 'reject' }),
    rule('guestOutput', { inInterface: bridge }, { kind: 'reject' }),
  ];
}

/** Makes rules of one family. */
function ruleOf(family: Family) {
  return (chain: RuleChain, match: RuleMatch, action: RuleAction): FirewallRule => ({
    family,
    chain,
    match,
    action,
  });
}

/** What guests may ask of the host, for hosts whose own rules refuse the rest: DNS, DHCP, TFTP. */
function serviceRules(plan: NetworkPlan, subnets: readonly SubnetPlan[], family: Family): FirewallRule[] {
  const bridge = plan.bridge.name;
  const rule = ruleOf(family);
  const port = (number: number) => ({ first: number, last: number });
  const pair = (protocol: 'tcp' | 'udp', toHost: number, toGuest: number): FirewallRule[] => [
    rule('input', { inInterface: bridge, protocol, destinationPorts: port(toHost) }, { kind: 'accept' }),
    rule('output', { outInterface: bridge, protocol, destinationPorts: port(toGuest) }, { kind: 'accept' }),
  ];
  const hasDhcp = subnets.some(({ dhcp }) => dhcp !== undefined);
  const hasTftp = subnets.some(({ tftpRoot }) => tftpRoot !== undefined);
  return [
    ...pair('udp', 53, 53),
    ...pair('tcp', 53, 53),
    ...(family === 4 ? [...pair('udp', 67, 68), ...pair('tcp', 67, 68)] : pair('udp', 547, 546)),
    ...(hasTftp && family === 4 ? pair('udp', 69, 69) : []),
    // Guests with old DHCP clients drop answers whose checksum was left to a network card that isn't there.
    ...(family === 4 && hasDhcp
      ? [
          rule(
            'repair',
            { outInterface: bridge, protocol: 'udp', destinationPorts: port(68) },
            { kind: 'fill-checksum' },
          ),
        ]
      : []),
  ];
}

function forwardRules(plan: NetworkPlan, subnet: SubnetPlan): FirewallRule[] {
  const { forward, bridge } = plan;
  if (forward.mode === 'none') return [];
  const { family } = subnet;
  const rule = ruleOf(family);
  const own = cidrOf(subnet);
  const isNat = forward.mode === 'nat' && (family === 4 || forward.isNatIpv6);
  const devices = forward.devices.length > 0 ? forward.devices : [undefined];
  return devices.flatMap((device) => [
    rule(
      'guestInput',
      {
        destination: own,
        ...(device && { inInterface: device }),
        outInterface: bridge.name,
        // Behind NAT only answers come in; a routed network can be reached.
        ...(isNat && { connection: 'answers' }),
      },
      { kind: 'accept' },
    ),
    rule(
      'guestOutput',
      { source: own, inInterface: bridge.name, ...(device && { outInterface: device }) },
      { kind: 'accept' },
    ),
    ...(isNat ? natRules(forward, { family, own, device }) : []),
  ]);
}

/** The network a subnet's address is in: `192.168.122.0/24`. */
function cidrOf(subnet: { readonly address: string; readonly prefix: number }): string {
  const address = parseIp(subnet.address);
  if (address === undefined) throw new Error(`'${subnet.address}' is no IP address`);
  return formatSubnet(subnetOf(address, subnet.prefix));
}

/** Privileged source ports are never given to guests: other hosts may trust them (CVE-2010-2242). */
const defaultNatPorts: PortRange = { first: 1024, last: 65_535 };

function natRules(
  forward: ForwardPlan,
  part: { family: Family; own: string; device: string | undefined },
): FirewallRule[] {
  const { family, own, device } = part;
  const out = device === undefined ? {} : { outInterface: device };
  const rule = ruleOf(family);
  // Multicast on the link and broadcasts keep their source.
  const kept = family === 4 ? ['224.0.0.0/24', '255.255.255.255/32'] : ['ff02::/16'];
  const ports = forward.natPorts
    ? { first: forward.natPorts.start, last: forward.natPorts.end }
    : defaultNatPorts;
  const leaving = { source: own, notDestination: own, ...out };
  return [
    ...kept.map((destination) => rule('sourceNat', { source: own, destination, ...out }, { kind: 'return' })),
    rule('sourceNat', { ...leaving, protocol: 'tcp' }, natAction(forward, family, ports)),
    rule('sourceNat', { ...leaving, protocol: 'udp' }, natAction(forward, family, ports)),
    rule('sourceNat', leaving, natAction(forward, family)),
  ];
}

function natAction(forward: ForwardPlan, family: Family, ports?: PortRange): RuleAction {
  const { natAddresses } = forward;
  // The definition's addresses are of one family; the other is masqueraded.
  if (natAddresses !== undefined && parseIp(natAddresses.start)?.family === family)
    return {
      kind: 'source-nat',
      first: natAddresses.start,
      last: natAddresses.end,
      ...(ports && { ports }),
    };
  return { kind: 'masquerade', ...(ports && { ports }) };
}

/** Where a subnet of the bridge holds a port forward's guest. */
function portForwardRules(plan: NetworkPlan, forward: PortForward): FirewallRule[] {
  return portPieces(forward).flatMap((piece) => onePortForward(plan, forward, piece));
}

interface PortPiece {
  readonly host: PortRange;
  readonly guest: PortRange;
  /** Left out when packets keep their port. */
  readonly port?: number;
}

/** A shifted range is one rule a port: no backend can shift a range by itself. */
function portPieces({ hostPort, guestPort, count }: PortForward): PortPiece[] {
  if (hostPort === guestPort) {
    const range = { first: hostPort, last: hostPort + count - 1 };
    return [{ host: range, guest: range }];
  }
  return Array.from({ length: count }, (_unused, index) => ({
    host: { first: hostPort + index, last: hostPort + index },
    guest: { first: guestPort + index, last: guestPort + index },
    port: guestPort + index,
  }));
}

function onePortForward(plan: NetworkPlan, forward: PortForward, piece: PortPiece): FirewallRule[] {
  const { family, protocol, hostAddress, guestAddress } = forward;
  const bridge = plan.bridge.name;
  const rule = ruleOf(family);
  const bits = family === 4 ? 32 : 128;
  const guest = `${guestAddress}/${bits}`;
  const asked: RuleMatch = {
    ...(hostAddress === undefined ? { isToHost: true } : { destination: `${hostAddress}/${bits}` }),
    protocol,
    destinationPorts: piece.host,
  };
  const redirect: RuleAction = {
    kind: 'redirect',
    address: guestAddress,
    ...(piece.port !== undefined && { port: piece.port }),
  };
  const redirected: RuleMatch = {
    destination: guest,
    outInterface: bridge,
    protocol,
    destinationPorts: piece.guest,
    connection: 'redirected',
  };
  const home = plan.subnets.find((subnet) => subnet.family === family && isIn(subnet, guestAddress));
  // A guest that asks for its neighbour by the host's address, and the host by its loopback, must get the answer by
  // way of the host, or they would not know it.
  const masked = [...(home ? [cidrOf(home)] : []), ...(usesLoopback(forward) ? [loopback] : [])];
  return [
    rule('forwardIn', asked, redirect),
    rule('forwardLocal', asked, redirect),
    rule('guestInput', redirected, { kind: 'accept' }),
    ...masked.map((source) => rule('sourceNat', { source, ...redirected }, { kind: 'masquerade' })),
    ...(usesLoopback(forward)
      ? [rule('guard', { destination: loopback, inInterface: bridge }, { kind: 'drop' })]
      : []),
  ];
}

const loopback = '127.0.0.0/8';

/** True when the host's own loopback leads to the guest too: the bridge then needs `route_localnet`, and the guard. */
export function usesLoopback({ family, hostAddress }: PortForward): boolean {
  return family === 4 && (hostAddress === undefined || hostAddress.startsWith('127.'));
}

function isIn(subnet: SubnetPlan, address: string): boolean {
  return cidrOf({ address, prefix: subnet.prefix }) === cidrOf(subnet);
}
