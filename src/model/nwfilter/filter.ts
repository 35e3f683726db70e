/**
 * A network filter: a named list of rules and of references to other filters, as libvirt's nwfilter objects are
 * (libvirt, "Network Filters"). Values are kept as they are written, since each may name a variable (`$IP`).
 */

/** What happens to a packet. `return` leaves the chain, `continue` goes on to the next rule. */
export type FilterAction = 'accept' | 'drop' | 'reject' | 'return' | 'continue';

/** As the guest sees it: `out` is what it sends. `inout` describes what comes in, and the mirror image of it going out. */
export type FilterDirection = 'in' | 'out' | 'inout';

/** Protocols that a rule looks at packet by packet. */
type FrameProtocol = 'mac' | 'vlan' | 'stp' | 'arp' | 'rarp' | 'ip' | 'ipv6';
type TransportProtocol = 'tcp' | 'udp' | 'udplite' | 'sctp' | 'esp' | 'ah' | 'all';
/** The rest is about connections, unless a rule says otherwise. */
export type FilterProtocol =
  | FrameProtocol
  | TransportProtocol
  | `${TransportProtocol}-ipv6`
  | 'icmp'
  | 'icmpv6'
  | 'igmp';

/** Conditions on one protocol. With `isNegated` (match='no') each of them must not hold. */
export interface FilterMatch {
  readonly protocol: FilterProtocol;
  readonly isNegated?: boolean;
  /** By libvirt's attribute names: `srcmacaddr`, `arpsrcipaddr`, `dstportstart`. */
  readonly values: Readonly<Record<string, string>>;
}

export interface FilterRule {
  readonly kind: 'rule';
  readonly action: FilterAction;
  readonly direction: FilterDirection;
  /** Lower ones come first; 500 when left out. */
  readonly priority?: number;
  /** A rule about connections looks at single packets all the same (statematch='false'). */
  readonly isStateless?: true;
  /** Every packet when left out. */
  readonly match?: FilterMatch;
}

/** Another filter, whose entries count as if they stood here. */
export interface FilterInclude {
  readonly kind: 'include';
  readonly filter: string;
  readonly parameters: readonly FilterParameter[];
}

/** Several of one name are a list: a rule with that variable then stands once for each value. */
export interface FilterParameter {
  readonly name: string;
  readonly value: string;
}

export interface NwFilter {
  readonly name: string;
  readonly uuid?: string;
  /** `root`, or a protocol's chain (`arp`), or one whose name begins with it (`arp-mac`). */
  readonly chain: string;
  /** Where the chain stands among the root chain's rules; by its protocol when left out. */
  readonly priority?: number;
  readonly entries: readonly (FilterRule | FilterInclude)[];
}

/** Finds a filter by its name: a built-in one, or one that somebody defined. */
export type FilterLookup = (name: string) => NwFilter | undefined;

/** Priorities of chains that give none (libvirt, "Filter chain priorities"). */
export const chainPriorities: Readonly<Record<string, number>> = {
  root: 0,
  mac: -810,
  stp: -780,
  vlan: -750,
  ipv4: -700,
  ipv6: -600,
  arp: -500,
  rarp: -400,
};

/** The protocol that a chain's name begins with: `ipv4` of `ipv4-ip`; undefined for a name that is none. */
export function chainProtocol(chain: string): string | undefined {
  const word = chain.split('-', 1)[0] ?? '';
  return word in chainPriorities ? word : undefined;
}

/** The priority of a rule that names none. */
export const DEFAULT_RULE_PRIORITY = 500;
