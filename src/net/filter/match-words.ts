/**
 * Conditions of filter rules in the language of nft(8), family bridge: one row for each attribute of libvirt's. Values
 * come from definitions and are checked here, whatever was checked before. Pure.
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { FilterMatch, FilterProtocol } from '../../model/nwfilter/filter.ts';
import { LEARNED, refusal } from './variables.ts';

/** nft's words for a rule's conditions. */
export type Words = readonly string[];

/** EtherTypes by libvirt's words (linux/if_ether.h). */
const etherTypes: Readonly<Record<string, string>> = {
  ipv4: '0x0800',
  arp: '0x0806',
  rarp: '0x8035',
  vlan: '0x8100',
  ipv6: '0x86dd',
};

/** Protocol numbers by libvirt's words (IANA, "Protocol Numbers"). */
const ipProtocols: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
  udplite: 136,
};

/** Operations of ARP and RARP (IANA, "ARP Parameters"). */
const arpOperations: Readonly<Record<string, number>> = {
  Request: 1,
  Reply: 2,
  Request_Reverse: 3,
  Reply_Reverse: 4,
  DRARP_Request: 5,
  DRARP_Reply: 6,
  DRARP_Error: 7,
  InARP_Request: 8,
  ARP_NAK: 9,
};

/** Words that compare a header field with a value. */
interface Comparison {
  readonly field: Words;
  readonly value: string;
  /** `& mask`, where only some bits count. */
  readonly mask?: string;
}

type Builder = (value: string, values: FilterMatch['values']) => Comparison;

const numberIn = (text: string, least: number, most: number): number => {
  const number = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) throw refusal(`'${text}' is no number from ${least} to ${most}`);
  return number;
};

const numbered =
  (field: Words, most: number): Builder =>
  (value) => ({ field, value: String(numberIn(value, 0, most)) });

const named =
  (field: Words, words: Readonly<Record<string, number>>, most: number): Builder =>
  (value) => ({ field, value: String(words[value] ?? numberIn(value, 0, most)) });

const etherType =
  (field: Words): Builder =>
  (value) => ({
    field,
    value: etherTypes[value] ?? `0x${numberIn(value, 0, 0xffff).toString(16).padStart(4, '0')}`,
  });

function checkMac(text: string): string {
  const octets = text.split(':');
  if (octets.length !== 6 || !octets.every((octet) => /^[0-9a-f]{1,2}$/i.test(octet)))
    throw refusal(`'${text}' is no MAC address`);
  return octets.map((octet) => octet.padStart(2, '0').toLowerCase()).join(':');
}

/** A MAC address; `maskName` is the attribute that says which bits count. */
const macField =
  (field: Words, maskName?: string): Builder =>
  (value, values) => {
    const mask = maskName === undefined ? undefined : values[maskName];
    return { field, value: checkMac(value), ...(mask !== undefined && { mask: checkMac(mask) }) };
  };

const asHex = (mac: string): string => `0x${checkMac(mac).replaceAll(':', '')}`;
const ipAsHex = (address: string): string =>
  `0x${checkAddress(address, 4)
    .split('.')
    .map((octet) => Number(octet).toString(16).padStart(2, '0'))
    .join('')}`;

function checkAddress(text: string, family: 4 | 6): string {
  if (family === 4 ? isIPv4(text) : isIPv6(text)) return text.toLowerCase();
  throw refusal(`'${text}' is no IPv${family} address`);
}

/** A mask as a number of bits or as an address (`24`, `255.255.255.0`). */
function checkMask(text: string, family: 4 | 6): string {
  if (!/^\d{1,3}$/.test(text)) return checkAddress(text, family);
  const bits = numberIn(text, 0, family === 4 ? 32 : 128);
  const step = family === 4 ? 8 : 16;
  const groups = Array.from({ length: family === 4 ? 4 : 8 }, (_, index) => {
    const set = Math.min(Math.max(bits - index * step, 0), step);
    return (2 ** set - 1) * 2 ** (step - set);
  });
  return family === 4 ? groups.join('.') : groups.map((group) => group.toString(16)).join(':');
}

const address =
  (field: Words, family: 4 | 6, maskName?: string): Builder =>
  (value, values) => {
    const mask = maskName === undefined ? undefined : values[maskName];
    if (value !== LEARNED)
      return {
        field,
        value: checkAddress(value, family),
        ...(mask !== undefined && { mask: checkMask(mask, family) }),
      };
    if (mask !== undefined) throw refusal('an address that is learned cannot have a mask', GIVE_IP);
    return { field, value };
  };

/** The first of a range; `endName` is the attribute with its last. */
const range =
  (field: Words, most: number, endName: string): Builder =>
  (value, values) => {
    const first = numberIn(value, 0, most);
    const last = values[endName] === undefined ? first : numberIn(values[endName] ?? '', first, most);
    return { field, value: first === last ? String(first) : `${first}-${last}` };
  };

export const GIVE_IP = "add <parameter name='IP' value='…'/> to the filterref";

const ethernet = {
  srcmacaddr: macField(['ether', 'saddr'], 'srcmacmask'),
  dstmacaddr: macField(['ether', 'daddr'], 'dstmacmask'),
};
const ports = {
  srcportstart: range(['th', 'sport'], 65_535, 'srcportend'),
  dstportstart: range(['th', 'dport'], 65_535, 'dstportend'),
};

/** ARP's header as nft reads it. */
const arpFields: Readonly<Record<string, Builder>> = {
  ...ethernet,
  hwtype: numbered(['arp', 'htype'], 0xffff),
  protocoltype: etherType(['arp', 'ptype']),
  opcode: named(['arp', 'operation'], arpOperations, 0xffff),
  arpsrcmacaddr: macField(['arp', 'saddr', 'ether']),
  arpdstmacaddr: macField(['arp', 'daddr', 'ether']),
  arpsrcipaddr: address(['arp', 'saddr', 'ip'], 4, 'arpsrcipmask'),
  arpdstipaddr: address(['arp', 'daddr', 'ip'], 4, 'arpdstipmask'),
};

/** nft knows ARP's header but not RARP's, which is the same (RFC 903): its bits are counted from the network header. */
const raw =
  (bit: number, bits: number, format: (value: string) => string): Builder =>
  (value) => ({ field: [`@nh,${bit},${bits}`], value: format(value) });
const hexNumber = (text: string) => `0x${numberIn(text, 0, 0xffff).toString(16)}`;
const rarpFields: Readonly<Record<string, Builder>> = {
  ...ethernet,
  hwtype: raw(0, 16, hexNumber),
  protocoltype: raw(16, 16, (text) => etherTypes[text] ?? hexNumber(text)),
  opcode: raw(48, 16, (text) => String(arpOperations[text] ?? numberIn(text, 0, 0xffff))),
  arpsrcmacaddr: raw(64, 48, asHex),
  arpsrcipaddr: raw(112, 32, ipAsHex),
  arpdstmacaddr: raw(144, 48, asHex),
  arpdstipaddr: raw(192, 32, ipAsHex),
};

/** Protocols of connections and of bridges among each other are missing: those rules are refused. */
const protocolFields: Readonly<Partial<Record<FilterProtocol, Readonly<Record<string, Builder>>>>> = {
  mac: { ...ethernet, protocolid: etherType(['ether', 'type']) },
  vlan: {
    ...ethernet,
    vlanid: numbered(['vlan', 'id'], 4095),
    'encap-protocol': etherType(['vlan', 'type']),
  },
  arp: arpFields,
  rarp: rarpFields,
  ip: {
    ...ethernet,
    srcipaddr: address(['ip', 'saddr'], 4, 'srcipmask'),
    dstipaddr: address(['ip', 'daddr'], 4, 'dstipmask'),
    protocol: named(['ip', 'protocol'], ipProtocols, 255),
    ...ports,
    dscp: numbered(['ip', 'dscp'], 63),
  },
  ipv6: {
    ...ethernet,
    srcipaddr: address(['ip6', 'saddr'], 6, 'srcipmask'),
    dstipaddr: address(['ip6', 'daddr'], 6, 'dstipmask'),
    protocol: named(['meta', 'l4proto'], ipProtocols, 255),
    ...ports,
    type: range(['icmpv6', 'type'], 255, 'typeend'),
    code: range(['icmpv6', 'code'], 255, 'codeend'),
  },
};

/** Attributes that are read with another one. */
const partner: Readonly<Record<string, string>> = {
  srcmacmask: 'srcmacaddr',
  dstmacmask: 'dstmacaddr',
  srcipmask: 'srcipaddr',
  dstipmask: 'dstipaddr',
  arpsrcipmask: 'arpsrcipaddr',
  arpdstipmask: 'arpdstipaddr',
  srcportend: 'srcportstart',
  dstportend: 'dstportstart',
  typeend: 'type',
  codeend: 'code',
};

/** The condition that a frame is of the protocol, where there is one. */
const ofProtocol: Readonly<Record<string, Words>> = {
  vlan: ['ether', 'type', '0x8100'],
  arp: ['ether', 'type', '0x0806'],
  rarp: ['ether', 'type', '0x8035'],
  ip: ['ether', 'type', '0x0800'],
  ipv4: ['ether', 'type', '0x0800'],
  ipv6: ['ether', 'type', '0x86dd'],
  // IEEE 802.1D: bridges speak to each other by this address.
  stp: ['ether', 'daddr', '01:80:c2:00:00:00'],
};

export const protocolWords = (protocol: string): Words => ofProtocol[protocol] ?? [];

/** Fields from which an address can be learned: the guest's own. */
const learnable: ReadonlySet<string> = new Set(['srcipaddr', 'arpsrcipaddr']);

/** Conditions of a rule, in nft's words. */
export interface MatchWords {
  readonly words: Words;
  /** The same, true for the first address that the guest uses, which it then remembers. */
  readonly learning?: Words;
}

/**
 * @param canLearn the rule lets pass what the guest itself sends
 * @throws VirtError definition.unsupported for an attribute or a value that means nothing here
 */
export function matchWords(match: FilterMatch, canLearn: boolean): MatchWords {
  const { protocol, values, isNegated = false } = match;
  const fields = protocolFields[protocol];
  if (fields === undefined) throw refusal(`rules about <${protocol}> are not supported yet`);
  const kind = protocolWords(protocol);
  const comparisons = Object.entries(values).flatMap(([name, value]) => {
    if (name === 'comment') return [];
    const build = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (build) return [{ name, comparison: build(value, values) }];
    const other = partner[name];
    if (other !== undefined && values[other] !== undefined) return [];
    throw refusal(`<${protocol} ${name}='${value}'> is not supported`);
  });
  const words = [...kind, ...comparisons.flatMap(({ comparison }) => compare(comparison, isNegated))];
  const unknown = comparisons.find(
    ({ name, comparison }) => comparison.value === LEARNED && learnable.has(name),
  );
  if (!canLearn || isNegated || unknown === undefined) return { words };
  const others = comparisons.filter((one) => one !== unknown);
  return {
    words,
    learning: [
      ...kind,
      ...others.flatMap(({ comparison }) => compare(comparison, false)),
      ...learn(unknown.comparison),
    ],
  };
}

function compare({ field, value, mask }: Comparison, isNegated: boolean): string[] {
  const sign = isNegated ? ['!='] : [];
  return mask === undefined
    ? [...field, ...sign, value]
    : [...field, '&', mask, isNegated ? '!=' : '==', value];
}

/** Adding to a full set fails, and with it the rule: so the first address is the only one. */
function learn({ field }: Comparison): string[] {
  return [...field, '!=', '0.0.0.0', 'add', LEARNED, '{', ...field, '}'];
}
