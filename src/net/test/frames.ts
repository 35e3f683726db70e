/**
 * Ethernet frames that the network test speaks: ARP (RFC 826), IPv4 (791), ICMP (792), UDP (768), TCP (9293), IPv6 (8200),
 * ICMPv6 (4443, 4861). Encoding makes whole frames; decoding takes them apart and gives undefined for what is broken or
 * not of interest. Pure.
 */
import { formatIp, parseIp } from '../../base/ip.ts';

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';
export const ANY_ADDRESS = '0.0.0.0';

const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
export const IP_PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
/** Flags of a TCP segment. */
export const TCP = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

/** Who sends to whom on the wire. */
export interface Link {
  readonly from: string;
  readonly to: string;
}

/** An IP packet without its header. */
export interface Packet {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Buffer;
}

export interface Arp {
  readonly kind: 'arp';
  readonly operation: 'request' | 'reply';
  readonly senderMac: string;
  readonly senderIp: string;
  readonly targetIp: string;
}

export interface Udp {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Buffer;
}

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
}

export type Frame = Link & (Arp | ({ readonly kind: 'ip' } & Packet));

const macBytes = (mac: string): number[] => mac.split(':').map((octet) => Number.parseInt(octet, 16));
const macText = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

function ipBytes(text: string): Buffer {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`'${text}' is no IP address`);
  return Buffer.from(address.bytes);
}

function ipText(bytes: Uint8Array): string {
  return formatIp({ family: bytes.length === 4 ? 4 : 6, bytes: [...bytes] });
}

const u16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];

/** The Internet checksum (RFC 1071). */
export function checksum(...parts: readonly Uint8Array[]): number {
  const data = Buffer.concat(parts);
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ethernet({ from, to }: Link, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([...macBytes(to), ...macBytes(from), ...u16(type)]), payload]);
}

export function encodeArp(link: Link, arp: Omit<Arp, 'kind'> & { readonly targetMac: string }): Buffer {
  const head = [...u16(1), ...u16(ETHERTYPE.ipv4), 6, 4, ...u16(arp.operation === 'request' ? 1 : 2)];
  return ethernet(
    link,
    ETHERTYPE.arp,
    Buffer.from([
      ...head,
      ...macBytes(arp.senderMac),
      ...ipBytes(arp.senderIp),
      ...macBytes(arp.targetMac),
      ...ipBytes(arp.targetIp),
    ]),
  );
}

/** A frame with an IP packet of either family, by its addresses. */
export function encodeIp(link: Link, packet: Packet): Buffer {
  const source = ipBytes(packet.source);
  const destination = ipBytes(packet.destination);
  return source.length === 4
    ? ethernet(link, ETHERTYPE.ipv4, Buffer.concat([ipv4Header(packet, source, destination), packet.payload]))
    : ethernet(
        link,
        ETHERTYPE.ipv6,
        Buffer.concat([ipv6Header(packet), source, destination, packet.payload]),
      );
}

function ipv4Header({ payload, protocol }: Packet, source: Buffer, destination: Buffer): Buffer {
  const header = Buffer.from([
    0x45,
    0,
    ...u16(20 + payload.length),
    ...u32(0),
    64,
    protocol,
    ...u16(0),
    ...source,
    ...destination,
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return header;
}

/** Neighbour discovery is believed with a hop limit of 255 only (RFC 4861, 7.1). */
function ipv6Header({ payload, protocol }: Packet): Buffer {
  return Buffer.from([0x60, 0, 0, 0, ...u16(payload.length), protocol, 255]);
}

/** The header that checksums of UDP, TCP and ICMPv6 count as well (RFC 768, RFC 8200 section 8.1). */
function pseudoHeader({ source, destination, protocol }: Omit<Packet, 'payload'>, length: number): Buffer {
  return Buffer.concat([
    ipBytes(source),
    ipBytes(destination),
    Buffer.from([...u32(length), 0, 0, 0, protocol]),
  ]);
}

type Ends = Pick<Packet, 'source' | 'destination'>;

/** Puts a checksum that counts the addresses at its place. */
function summed(ends: Ends, protocol: number, body: Buffer, at: number): Packet {
  const sum = checksum(pseudoHeader({ ...ends, protocol }, body.length), body);
  // UDP over IPv4 takes 0 for none; its other form is all ones.
  body.writeUInt16BE(sum === 0 && protocol === IP_PROTOCOL.udp ? 0xffff : sum, at);
  return { ...ends, protocol, payload: body };
}

export function udpPacket(ends: Ends, { sourcePort, destinationPort, data }: Udp): Packet {
  const head = [...u16(sourcePort), ...u16(destinationPort), ...u16(8 + data.length), 0, 0];
  return summed(ends, IP_PROTOCOL.udp, Buffer.concat([Buffer.from(head), data]), 6);
}

export function tcpPacket(ends: Ends, segment: TcpSegment): Packet {
  const { sourcePort, destinationPort, sequence, acknowledgement, flags } = segment;
  const numbers = [...u32(sequence), ...u32(acknowledgement)];
  const body = [
    ...u16(sourcePort),
    ...u16(destinationPort),
    ...numbers,
    0x50,
    flags,
    ...u16(64_240),
    0,
    0,
    0,
    0,
  ];
  return summed(ends, IP_PROTOCOL.tcp, Buffer.from(body), 16);
}

/** An echo request of the family of its addresses; `id` names who asks. */
export function echoPacket(ends: Ends, id: number, sequence: number): Packet {
  const isSix = ends.source.includes(':');
  const body = Buffer.from([
    isSix ? 128 : 8,
    0,
    0,
    0,
    ...u16(id),
    ...u16(sequence),
    ...Buffer.from('vireo network test'),
  ]);
  if (isSix) return summed(ends, IP_PROTOCOL.icmpv6, body, 2);
  body.writeUInt16BE(checksum(body), 2);
  return { ...ends, protocol: IP_PROTOCOL.icmp, payload: body };
}

/** Asks for the MAC address of an IPv6 address, and tells the own one (RFC 4861, 4.3). */
export function neighbourSolicitation(ends: Ends, target: string, ownMac: string): Packet {
  const body = Buffer.from([135, 0, 0, 0, ...u32(0), ...ipBytes(target), 1, 1, ...macBytes(ownMac)]);
  return summed(ends, IP_PROTOCOL.icmpv6, body, 2);
}

/** Says who has an address: solicited, and overriding what was known (RFC 4861, 4.4). */
export function neighbourAdvertisement(ends: Ends, target: string, ownMac: string): Packet {
  const body = Buffer.from([
    136,
    0,
    0,
    0,
    ...u32(0x6000_0000),
    ...ipBytes(target),
    2,
    1,
    ...macBytes(ownMac),
  ]);
  return summed(ends, IP_PROTOCOL.icmpv6, body, 2);
}

/** Asks routers to tell of themselves (RFC 4861, 4.1). */
export function routerSolicitation(ends: Ends, ownMac: string): Packet {
  const body = Buffer.from([133, 0, 0, 0, ...u32(0), 1, 1, ...macBytes(ownMac)]);
  return summed(ends, IP_PROTOCOL.icmpv6, body, 2);
}

/** The link-local address that belongs to a MAC address (RFC 4291, appendix A). */
export function linkLocalOf(mac: string): string {
  const bytes = macBytes(mac);
  const id = [(bytes[0] ?? 0) ^ 2, ...bytes.slice(1, 3), 0xff, 0xfe, ...bytes.slice(3)];
  return formatIp({ family: 6, bytes: [0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...id] });
}

/** The multicast group and its MAC address where an IPv6 address is asked for (RFC 4291, 2.7.1; RFC 2464, 7). */
export function solicitedNode(address: string): { readonly address: string; readonly mac: string } {
  const tail = [...ipBytes(address).subarray(13)];
  const group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...tail];
  return {
    address: formatIp({ family: 6, bytes: group }),
    mac: macText(Buffer.from([0x33, 0x33, 0xff, ...tail])),
  };
}

export function decodeFrame(data: Buffer): Frame | undefined {
  if (data.length < 14) return undefined;
  const link = { to: macText(data.subarray(0, 6)), from: macText(data.subarray(6, 12)) };
  const payload = data.subarray(14);
  switch (data.readUInt16BE(12)) {
    case ETHERTYPE.arp:
      return decodeArp(link, payload);
    case ETHERTYPE.ipv4:
      return decodeIpv4(link, payload);
    case ETHERTYPE.ipv6:
      return decodeIpv6(link, payload);
    default:
      return undefined;
  }
}

function decodeArp(link: Link, data: Buffer): Frame | undefined {
  if (data.length < 28 || data.readUInt16BE(2) !== ETHERTYPE.ipv4) return undefined;
  return {
    ...link,
    kind: 'arp',
    operation: data.readUInt16BE(6) === 1 ? 'request' : 'reply',
    senderMac: macText(data.subarray(8, 14)),
    senderIp: ipText(data.subarray(14, 18)),
    targetIp: ipText(data.subarray(24, 28)),
  };
}

function decodeIpv4(link: Link, data: Buffer): Frame | undefined {
  const header = ((data[0] ?? 0) & 0xf) * 4;
  if (header < 20 || data.length < header) return undefined;
  const end = data.readUInt16BE(2);
  return {
    ...link,
    kind: 'ip',
    protocol: data[9] ?? 0,
    source: ipText(data.subarray(12, 16)),
    destination: ipText(data.subarray(16, 20)),
    // Short frames are padded to Ethernet's least.
    payload: data.subarray(header, Math.min(Math.max(end, header), data.length)),
  };
}

function decodeIpv6(link: Link, data: Buffer): Frame | undefined {
  if (data.length < 40) return undefined;
  return {
    ...link,
    kind: 'ip',
    protocol: data[6] ?? 0,
    source: ipText(data.subarray(8, 24)),
    destination: ipText(data.subarray(24, 40)),
    payload: data.subarray(40, 40 + data.readUInt16BE(4)),
  };
}

export function decodeUdp({ protocol, payload }: Packet): Udp | undefined {
  if (protocol !== IP_PROTOCOL.udp || payload.length < 8) return undefined;
  return {
    sourcePort: payload.readUInt16BE(0),
    destinationPort: payload.readUInt16BE(2),
    data: payload.subarray(8),
  };
}

export function decodeTcp({ protocol, payload }: Packet): TcpSegment | undefined {
  if (protocol !== IP_PROTOCOL.tcp || payload.length < 20) return undefined;
  return {
    sourcePort: payload.readUInt16BE(0),
    destinationPort: payload.readUInt16BE(2),
    sequence: payload.readUInt32BE(4),
    acknowledgement: payload.readUInt32BE(8),
    flags: payload[13] ?? 0,
  };
}

/** The kind of an ICMP message of either family, and the id of an echo. */
export function decodeIcmp({
  protocol,
  payload,
}: Packet): { readonly type: number; readonly code: number; readonly id: number } | undefined {
  if ((protocol !== IP_PROTOCOL.icmp && protocol !== IP_PROTOCOL.icmpv6) || payload.length < 8)
    return undefined;
  return { type: payload[0] ?? 0, code: payload[1] ?? 0, id: payload.readUInt16BE(4) };
}

/** The address in a neighbour solicitation or advertisement. */
export function neighbourTarget({ payload }: Packet): string | undefined {
  return payload.length < 24 ? undefined : ipText(payload.subarray(8, 24));
}
