/**
 * The filters that every libvirt host has (package libvirt-daemon-config-nwfilter), in the model that defined ones have
 * too. Their names, priorities and conditions are libvirt's: definitions that refer to them mean these rules.
 */
import type {
  FilterAction,
  FilterDirection,
  FilterInclude,
  FilterMatch,
  FilterRule,
  NwFilter,
} from './filter.ts';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';

const rule = (
  action: FilterAction,
  direction: FilterDirection,
  match?: FilterMatch,
  priority?: number,
): FilterRule => ({
  kind: 'rule',
  action,
  direction,
  ...(match && { match }),
  ...(priority !== undefined && { priority }),
});
const matching =
  (protocol: FilterMatch['protocol']) =>
  (values: FilterMatch['values'] = {}): FilterMatch => ({ protocol, values });
const [mac, arp, rarp, ip, ipv6] = [
  matching('mac'),
  matching('arp'),
  matching('rarp'),
  matching('ip'),
  matching('ipv6'),
];
const include = (filter: string): FilterInclude => ({ kind: 'include', filter, parameters: [] });

const filter = (
  name: string,
  place: { readonly chain?: string; readonly priority?: number },
  entries: NwFilter['entries'],
): NwFilter => ({ name, chain: 'root', ...place, entries });

/** Lets pass what has the guest's own value, and drops the rest of the chain's packets. */
const onlyOwn = (own: readonly FilterMatch[], priority?: number): FilterRule[] => [
  ...own.map((match) => rule('return', 'out', match, priority)),
  rule('drop', 'out', undefined, 1000),
];

/** A DHCP client's questions, and the answers, of one server where `server` names it. */
const dhcp = (server: Readonly<Record<string, string>>): FilterRule[] => [
  rule(
    'accept',
    'out',
    ip({
      srcipaddr: '0.0.0.0',
      dstipaddr: '255.255.255.255',
      protocol: 'udp',
      srcportstart: '68',
      dstportstart: '67',
    }),
    100,
  ),
  rule('accept', 'in', ip({ ...server, protocol: 'udp', srcportstart: '67', dstportstart: '68' }), 100),
];

/** The same of IPv6: clients ask ff02::1:2 from their link-local address (RFC 8415, section 14). */
const dhcpv6 = (server: Readonly<Record<string, string>>): FilterRule[] => [
  rule(
    'accept',
    'out',
    ipv6({
      srcipaddr: 'fe80::',
      srcipmask: '10',
      dstipaddr: 'ff02::1:2',
      protocol: 'udp',
      srcportstart: '546',
      dstportstart: '547',
    }),
    100,
  ),
  rule('accept', 'in', ipv6({ ...server, protocol: 'udp', srcportstart: '547', dstportstart: '546' }), 100),
];

const spoofing = [include('no-mac-spoofing'), include('no-ip-spoofing')];
const arpPasses = rule('accept', 'inout', mac({ protocolid: 'arp' }), -500);
const nothingElse = [include('no-other-l2-traffic'), include('qemu-announce-self')];

const filters: readonly NwFilter[] = [
  filter('no-mac-spoofing', { chain: 'mac', priority: -800 }, [
    rule('return', 'out', mac({ srcmacaddr: '$MAC' })),
    rule('drop', 'out', mac()),
  ]),
  filter('no-ip-spoofing', { chain: 'ipv4-ip', priority: -710 }, [
    // A guest that asks for its address has none yet.
    rule('return', 'out', ip({ srcipaddr: '0.0.0.0', protocol: 'udp' }), 100),
    ...onlyOwn([ip({ srcipaddr: '$IP' })]),
  ]),
  filter('no-ipv6-spoofing', { chain: 'ipv6-ip', priority: -610 }, [
    rule('return', 'out', ipv6({ srcipaddr: 'fe80::', srcipmask: '10', protocol: 'udp' }), 100),
    ...onlyOwn([ipv6({ srcipaddr: '$IPV6' })]),
  ]),
  filter(
    'no-arp-mac-spoofing',
    { chain: 'arp-mac', priority: -520 },
    onlyOwn([arp({ arpsrcmacaddr: '$MAC' })], 350),
  ),
  filter(
    'no-arp-ip-spoofing',
    { chain: 'arp-ip', priority: -510 },
    onlyOwn([arp({ arpsrcipaddr: '$IP' })], 400),
  ),
  filter('no-arp-spoofing', {}, [include('no-arp-mac-spoofing'), include('no-arp-ip-spoofing')]),
  filter('no-ip-multicast', { chain: 'ipv4' }, [
    rule('drop', 'out', ip({ dstipaddr: '224.0.0.0', dstipmask: '4' })),
  ]),
  filter('no-ipv6-multicast', { chain: 'ipv6' }, [
    rule('drop', 'out', ipv6({ dstipaddr: 'ff00::', dstipmask: '8' })),
  ]),
  filter('no-mac-broadcast', { chain: 'ipv4' }, [rule('drop', 'out', mac({ dstmacaddr: BROADCAST }))]),
  filter('no-other-l2-traffic', {}, [rule('drop', 'inout', undefined, 1000)]),
  filter('no-other-rarp-traffic', { chain: 'rarp' }, [rule('drop', 'inout', undefined, 1000)]),
  filter('allow-arp', { chain: 'arp' }, [rule('accept', 'inout')]),
  filter('allow-ipv4', { chain: 'ipv4' }, [rule('accept', 'inout')]),
  filter('allow-ipv6', { chain: 'ipv6' }, [rule('accept', 'inout')]),
  filter('allow-incoming-ipv4', { chain: 'ipv4' }, [rule('accept', 'in')]),
  filter('allow-incoming-ipv6', { chain: 'ipv6' }, [rule('accept', 'in')]),
  filter('allow-dhcp', { chain: 'ipv4' }, dhcp({})),
  filter('allow-dhcp-server', { chain: 'ipv4' }, dhcp({ srcipaddr: '$DHCPSERVER' })),
  filter('allow-dhcpv6', { chain: 'ipv6' }, dhcpv6({})),
  filter('allow-dhcpv6-server', { chain: 'ipv6' }, dhcpv6({ srcipaddr: '$DHCPSERVER' })),
  filter('qemu-announce-self-rarp', { chain: 'rarp' }, [
    ...(['out', 'in'] as const).map((direction) =>
      rule(
        'accept',
        direction,
        rarp({
          opcode: 'Request_Reverse',
          ...(direction === 'out' && { srcmacaddr: '$MAC' }),
          dstmacaddr: BROADCAST,
          arpsrcmacaddr: '$MAC',
          arpdstmacaddr: '$MAC',
          arpsrcipaddr: '0.0.0.0',
          arpdstipaddr: '0.0.0.0',
        }),
      ),
    ),
  ]),
  filter('qemu-announce-self', {}, [
    // Old versions of QEMU announce themselves with this protocol number in place of RARP's.
    rule('accept', 'out', mac({ protocolid: '0x835' })),
    include('qemu-announce-self-rarp'),
    include('no-other-rarp-traffic'),
  ]),
  filter('clean-traffic', {}, [
    ...spoofing,
    rule('accept', 'out', mac({ protocolid: 'ipv4' }), -650),
    include('allow-incoming-ipv4'),
    include('no-arp-spoofing'),
    arpPasses,
    ...nothingElse,
  ]),
  filter('clean-traffic-gateway', {}, [
    ...spoofing,
    include('no-arp-spoofing'),
    arpPasses,
    rule('accept', 'in', mac({ srcmacaddr: '$GATEWAY_MAC' })),
    rule('accept', 'out', mac({ dstmacaddr: '$GATEWAY_MAC' })),
    ...nothingElse,
  ]),
];

const byName: ReadonlyMap<string, NwFilter> = new Map(filters.map((one) => [one.name, one]));

/** Names of all filters that need no definition, in alphabetical order. */
export const builtInFilterNames: readonly string[] = [...byName.keys()].toSorted();

export const builtInFilter = (name: string): NwFilter | undefined => byName.get(name);
