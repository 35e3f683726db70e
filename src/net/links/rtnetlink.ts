/** The host's links and bridges by rtnetlink (rtnetlink(7)): no process, a few microseconds a request. */
import {
  attribute,
  attributeText,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  nestedAttribute,
  netlinkQuery,
  netlinkRequest,
  netlinkRequestAside,
  numberAttribute,
  parseAttributes,
  textAttribute,
} from '../../base/netlink.ts';
import type { HostLink } from '../plan.ts';

export const NETLINK_ROUTE = 0;

// linux/rtnetlink.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;

// linux/if_link.h
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_BR_FORWARD_DELAY = 1;
const IFLA_BR_STP_STATE = 5;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_ISOLATED = 33;

const IFF_UP = 1;
const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;
const AF_BRIDGE = 7;

/** struct ifinfomsg: family, pad, type (16 bits), index, flags, change mask (32 bits each). */
export function linkHeader(options: {
  index?: number;
  flags?: number;
  change?: number;
  family?: number;
}): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt8(options.family ?? 0, 0);
  header.writeInt32LE(options.index ?? 0, 4);
  header.writeUInt32LE(options.flags ?? 0, 8);
  header.writeUInt32LE(options.change ?? 0, 12);
  return header;
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** The bytes of a MAC address as text: lower case, with colons. */
export function macText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** All links, or the one of that name. */
export function listLinks(): HostLink[] {
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETLINK,
    body: linkHeader({}),
    what: 'list the links',
  };
  return netlinkQuery(request, true).map(parseLink);
}

/** @throws FfiError ENODEV when there is none */
export function linkByName(name: string): HostLink {
  const body = Buffer.concat([linkHeader({}), textAttribute(IFLA_IFNAME, name)]);
  const request = { protocol: NETLINK_ROUTE, type: RTM_GETLINK, body, what: `look up link ${name}` };
  const [answer] = netlinkQuery(request, false);
  if (answer === undefined) throw new Error(`no answer about link ${name}`);
  return parseLink(answer);
}

export function parseLink(body: Buffer): HostLink {
  const attributes = parseAttributes(body.subarray(16));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const mac = attributes.get(IFLA_ADDRESS);
  return {
    index: body.readInt32LE(4),
    name: attributeText(attributes.get(IFLA_IFNAME)) ?? '',
    kind: attributeText(info.get(IFLA_INFO_KIND)),
    mac: mac?.length === 6 ? macText(mac) : undefined,
    mtu: attributes.get(IFLA_MTU)?.readUInt32LE(0) ?? 0,
    isUp: (body.readUInt32LE(8) & IFF_UP) !== 0,
    master: attributes.get(IFLA_MASTER)?.readUInt32LE(0),
  };
}

export interface BridgeOptions {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  readonly isStp: boolean;
  readonly delaySeconds: number;
}

/** Makes a bridge, down. @throws FfiError EEXIST when any link has that name */
export function addBridge(options: BridgeOptions): void {
  const data = bridgeData(options);
  const body = Buffer.concat([
    linkHeader({}),
    textAttribute(IFLA_IFNAME, options.name),
    attribute(IFLA_ADDRESS, macBytes(options.mac)),
    ...(options.mtu === undefined ? [] : [numberAttribute(IFLA_MTU, options.mtu)]),
    nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, 'bridge'), data]),
  ]);
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  sendRoute(RTM_NEWLINK, body, `add bridge ${options.name}`, flags);
}

/** Brings an existing bridge to these settings; its ports stay. */
export function changeBridge(link: HostLink, options: BridgeOptions): void {
  // The kernel looks at the delay before the STP state, so a short delay needs STP off by a request of its own.
  if (!options.isStp) {
    const off = nestedAttribute(IFLA_INFO_DATA, [numberAttribute(IFLA_BR_STP_STATE, 0)]);
    const info = nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, 'bridge'), off]);
    const body = Buffer.concat([linkHeader({ index: link.index }), info]);
    sendRoute(RTM_NEWLINK, body, `switch off STP of bridge ${options.name}`);
  }
  const body = Buffer.concat([
    linkHeader({ index: link.index }),
    ...(link.mac === options.mac ? [] : [attribute(IFLA_ADDRESS, macBytes(options.mac))]),
    ...(options.mtu === undefined || options.mtu === link.mtu
      ? []
      : [numberAttribute(IFLA_MTU, options.mtu)]),
    nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, 'bridge'), bridgeData(options)]),
  ]);
  sendRoute(RTM_NEWLINK, body, `change bridge ${options.name}`);
}

function bridgeData(options: BridgeOptions): Buffer {
  // The kernel counts in hundredths, and with STP on accepts 2 to 30 seconds only (net/bridge/br_stp_timer.c).
  const least = options.isStp ? 2 : 0;
  const delay = Math.round(Math.max(options.delaySeconds, least) * 100);
  return nestedAttribute(IFLA_INFO_DATA, [
    numberAttribute(IFLA_BR_FORWARD_DELAY, delay),
    numberAttribute(IFLA_BR_STP_STATE, options.isStp ? 1 : 0),
  ]);
}

/** Takes 30 ms and more, which the kernel spends waiting for all CPUs; the caller's thread is free meanwhile. */
export async function deleteLink(link: HostLink): Promise<void> {
  const body = linkHeader({ index: link.index });
  const what = `delete link ${link.name}`;
  await netlinkRequestAside({ protocol: NETLINK_ROUTE, type: RTM_DELLINK, body, what });
}

export function setUp(link: HostLink, isUp: boolean): void {
  const header = linkHeader({ index: link.index, flags: isUp ? IFF_UP : 0, change: IFF_UP });
  sendRoute(RTM_NEWLINK, header, `set link ${link.name} ${isUp ? 'up' : 'down'}`);
}

export interface LinkChange {
  readonly mac?: string;
  readonly mtu?: number;
  /** The bridge to put it on; null takes it off. */
  readonly master?: HostLink | null;
  readonly isUp?: true;
  /** Receive everything; only macvtaps of guests that are trusted with it. */
  readonly isPromiscuous?: boolean;
  readonly isAllMulticast?: boolean;
}

/** Changes several things of a link in one request. */
export function changeLink(link: HostLink, change: LinkChange): void {
  const { mac, mtu, master } = change;
  const body = Buffer.concat([
    linkHeader({ index: link.index, ...flagsOf(change) }),
    ...(mac === undefined ? [] : [attribute(IFLA_ADDRESS, macBytes(mac))]),
    ...(mtu === undefined ? [] : [numberAttribute(IFLA_MTU, mtu)]),
    ...(master === undefined ? [] : [numberAttribute(IFLA_MASTER, master?.index ?? 0)]),
  ]);
  sendRoute(RTM_NEWLINK, body, `set up link ${link.name}`);
}

/** Bits of net_device's flags (linux/if.h), and which of them are meant. */
function flagsOf({ isUp, isPromiscuous, isAllMulticast }: LinkChange): { flags: number; change: number } {
  const wishes: readonly (readonly [number, boolean | undefined])[] = [
    [IFF_UP, isUp],
    [IFF_PROMISC, isPromiscuous],
    [IFF_ALLMULTI, isAllMulticast],
  ];
  const given = wishes.filter(([, value]) => value !== undefined);
  return {
    flags: given.reduce((sum, [bit, value]) => sum | (value === true ? bit : 0), 0),
    change: given.reduce((sum, [bit]) => sum | bit, 0),
  };
}

export interface PortFlags {
  readonly isIsolated: boolean;
  readonly isLearning: boolean;
  readonly isFlooding: boolean;
}

/** Sets how a bridge treats one of its ports (bridge(8), `bridge link set`). */
export function changePort(link: HostLink, flags: PortFlags): void {
  const flag = (type: number, value: boolean) => numberAttribute(type, value ? 1 : 0, 1);
  const body = Buffer.concat([
    linkHeader({ index: link.index, family: AF_BRIDGE }),
    nestedAttribute(IFLA_PROTINFO, [
      flag(IFLA_BRPORT_ISOLATED, flags.isIsolated),
      flag(IFLA_BRPORT_LEARNING, flags.isLearning),
      flag(IFLA_BRPORT_UNICAST_FLOOD, flags.isFlooding),
    ]),
  ]);
  // For AF_BRIDGE only this message is a bridge's (net/core/rtnetlink.c, rtnl_bridge_setlink).
  sendRoute(RTM_SETLINK, body, `set up bridge port ${link.name}`);
}

// linux/neighbour.h
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const NDA_LLADDR = 2;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 0x02;
const NTF_MASTER = 0x04;

/** Tells the bridge that an address is behind a port, as `bridge fdb replace MAC dev PORT master static`. */
export function addForwarding(port: HostLink, mac: string): void {
  const body = neighbourBody(port, mac, NTF_MASTER);
  sendRoute(RTM_NEWNEIGH, body, `enter ${mac} for port ${port.name}`, NLM_F_CREATE | NLM_F_REPLACE);
}

/** Lets a device receive frames to a group address, or no more, as `bridge fdb add|del MAC dev DEV self`. */
export function changeGroup(device: HostLink, mac: string, change: 'join' | 'leave'): void {
  const body = neighbourBody(device, mac, NTF_SELF);
  const what = `${change} group ${mac} on ${device.name}`;
  if (change === 'join') sendRoute(RTM_NEWNEIGH, body, what, NLM_F_CREATE);
  else sendRoute(RTM_DELNEIGH, body, what);
}

function neighbourBody(port: HostLink, mac: string, flag: number): Buffer {
  // struct ndmsg: family, pads, index (at 4), state (16 bits at 8), flags (at 10), type.
  const header = Buffer.alloc(12);
  header.writeUInt8(AF_BRIDGE, 0);
  header.writeInt32LE(port.index, 4);
  header.writeUInt16LE(NUD_NOARP | NUD_PERMANENT, 8);
  header.writeUInt8(flag, 10);
  return Buffer.concat([header, attribute(NDA_LLADDR, macBytes(mac))]);
}

/** @throws FfiError with the kernel's errno */
export function sendRoute(type: number, body: Buffer, what: string, flags = 0): void {
  netlinkRequest({ protocol: NETLINK_ROUTE, type, body, what, flags });
}
