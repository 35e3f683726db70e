/**
 * The header fields that rules can name, by protocol: libvirt's attribute names, and what each takes. Values are texts, since
 * each may be a variable.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** Says what is wrong with a value, undefined when nothing is. */
export type AttributeCheck = (text: string) => string | undefined;

/** `$IP`, `$IP[1]`, `$IP[@2]`: stands for what the filter's user says. */
const variable = /^\$[A-Za-z0-9_]{1,256}(\[@?\d{1,5}\])?$/;

const checkedBy =
  (what: string, isRight: (text: string) => boolean): AttributeCheck =>
  (text) =>
    variable.test(text) || isRight(text) ? undefined : `must be ${what} or a variable`;

const number = (least: number, most: number): AttributeCheck =>
  checkedBy(`a number from ${least} to ${most}`, (text) => {
    const value = /^(0x[0-9a-fA-F]{1,8}|\d{1,10})$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most;
  });
const word =
  (words: readonly string[], otherwise: AttributeCheck): AttributeCheck =>
  (text) =>
    words.includes(text) ? undefined : otherwise(text);

const macAddress = checkedBy('a MAC address', (text) =>
  /^([0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}$/.test(text),
);
const isMask = (bits: number, isAddress: (text: string) => boolean) => (text: string) =>
  (/^\d{1,3}$/.test(text) && Number(text) <= bits) || isAddress(text);
const four = checkedBy('an IPv4 address', isIPv4);
const fourMask = checkedBy('an IPv4 mask', isMask(32, isIPv4));
const six = checkedBy('an IPv6 address', isIPv6);
const sixMask = checkedBy('an IPv6 mask', isMask(128, isIPv6));
const byte = number(0, 255);
const short = number(0, 65_535);
const long = number(0, 0xffff_ffff);
const etherType = word(['arp', 'rarp', 'ipv4', 'ipv6', 'vlan'], number(0x600, 0xffff));
const protocol = word(['tcp', 'udp', 'udplite', 'esp', 'ah', 'icmp', 'igmp', 'sctp', 'icmpv6'], byte);
const opcode = word(
  [
    'Request',
    'Reply',
    'Request_Reverse',
    'Reply_Reverse',
    'DRARP_Request',
    'DRARP_Reply',
    'DRARP_Error',
    'InARP_Request',
    'ARP_NAK',
  ],
  short,
);
const matching = (what: string, rule: RegExp) => checkedBy(what, (text) => rule.test(text));

/** For people; at most 256 characters, of which none ends a text in a rule set. */
const comment: AttributeCheck = (text) =>
  /^[^"\\\p{Cc}]{0,256}$/u.test(text)
    ? undefined
    : 'must be at most 256 characters without quotes and control characters';

type Attributes = Readonly<Record<string, AttributeCheck>>;

const source: Attributes = { srcmacaddr: macAddress, srcmacmask: macAddress };
const ethernet: Attributes = { ...source, dstmacaddr: macAddress, dstmacmask: macAddress };
const ends = (ip: AttributeCheck, mask: AttributeCheck): Attributes => ({
  srcipaddr: ip,
  srcipmask: mask,
  dstipaddr: ip,
  dstipmask: mask,
});
const ports: Attributes = {
  srcportstart: short,
  srcportend: short,
  dstportstart: short,
  dstportend: short,
};
const arp: Attributes = {
  ...ethernet,
  hwtype: short,
  protocoltype: short,
  opcode,
  arpsrcmacaddr: macAddress,
  arpdstmacaddr: macAddress,
  arpsrcipaddr: four,
  arpsrcipmask: fourMask,
  arpdstipaddr: four,
  arpdstipmask: fourMask,
  gratuitous: matching('true or false', /^(true|false|yes|no|0|1)$/i),
};
const icmp: Attributes = { type: byte, typeend: byte, code: byte, codeend: byte };
const range = (name: string, check: AttributeCheck): Attributes => ({ [name]: check, [`${name}-hi`]: check });

/** Protocols above IP, whose rules follow connections. */
const overIp = (ip: AttributeCheck, mask: AttributeCheck): Attributes => ({
  ...source,
  dstmacaddr: macAddress,
  dstmacmask: macAddress,
  ...ends(ip, mask),
  srcipfrom: ip,
  srcipto: ip,
  dstipfrom: ip,
  dstipto: ip,
  dscp: number(0, 63),
  'connlimit-above': long,
  state: matching(
    'states of a connection',
    /^((NEW|ESTABLISHED|RELATED|INVALID)(,(NEW|ESTABLISHED|RELATED|INVALID))*|NONE)$/,
  ),
  ipset: matching('the name of an ipset', /^[A-Za-z0-9_.:+-]{1,31}$/),
  ipsetflags: matching('src and dst, by commas', /^(src|dst)(,(src|dst)){0,5}$/),
});
const flags: Attributes = {
  flags: matching(
    'TCP flags with their mask',
    /^([A-Z]{3}(,[A-Z]{3}){0,5}|ALL|NONE)\/([A-Z]{3}(,[A-Z]{3}){0,5}|ALL|NONE)$/,
  ),
};

const families = [
  ['', overIp(four, fourMask)],
  ['-ipv6', overIp(six, sixMask)],
] as const;

/** What each protocol's element may have, by its name. */
export const protocolAttributes: ReadonlyMap<string, Attributes> = new Map(
  Object.entries<Attributes>({
    mac: { ...ethernet, protocolid: etherType },
    vlan: { ...ethernet, vlanid: number(0, 4095), 'encap-protocol': etherType },
    stp: {
      ...source,
      type: byte,
      flags: byte,
      ...range('root-priority', short),
      'root-address': macAddress,
      'root-address-mask': macAddress,
      ...range('root-cost', long),
      ...range('sender-priority', short),
      'sender-address': macAddress,
      'sender-address-mask': macAddress,
      ...range('port', short),
      ...range('age', short),
      ...range('max-age', short),
      ...range('hello-time', short),
      ...range('forward-delay', short),
    },
    arp,
    rarp: arp,
    ip: { ...ethernet, ...ends(four, fourMask), protocol, ...ports, dscp: number(0, 63) },
    ipv6: { ...ethernet, ...ends(six, sixMask), protocol, ...ports, ...icmp },
    icmp: { ...overIp(four, fourMask), ...icmp },
    icmpv6: { ...overIp(six, sixMask), ...icmp },
    igmp: overIp(four, fourMask),
    ...Object.fromEntries(
      families.flatMap(([suffix, base]) => [
        [`tcp${suffix}`, { ...base, ...ports, ...flags }],
        [`udp${suffix}`, { ...base, ...ports }],
        [`sctp${suffix}`, { ...base, ...ports }],
        ...['udplite', 'esp', 'ah', 'all'].map((name) => [`${name}${suffix}`, base]),
      ]),
    ),
  }).map(([name, attributes]) => [name, { ...attributes, comment }]),
);
