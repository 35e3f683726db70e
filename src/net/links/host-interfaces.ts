/** The host's network interfaces as a person asks for them: by rtnetlink and ethtool's netlink family, only looking. */
import { FfiError } from '../../base/ffi.ts';
import { attributeText, netlinkQuery, parseAttributes, textAttribute } from '../../base/netlink.ts';
import type { Family } from '../plan.ts';
import { listAddresses } from './addresses.ts';
import { linkError } from './link-error.ts';
import { macText, NETLINK_ROUTE } from './rtnetlink.ts';

/** An interface of the host. */
export interface HostInterface {
  readonly index: number;
  readonly name: string;
  /** `bridge`, `bond`, `vlan`, `ethernet`, `loopback`, `tap`, `tun`, `macvtap`, or the kernel's own word (`veth`, `dummy`). */
  readonly type: string;
  /** Somebody has set it up. */
  readonly isUp: boolean;
  /** What the kernel makes of it (RFC 2863 words): `up`, `down`, `lowerlayerdown`, `unknown`, ... */
  readonly state: string;
  readonly mac: string | undefined;
  readonly mtu: number;
  /** The bridge or bond it is a port of. */
  readonly master: string | undefined;
  /** The interface below a VLAN, macvlan or macvtap, when it is in this network namespace. */
  readonly parent: string | undefined;
  readonly vlanId: number | undefined;
  /** What only bridges have. */
  readonly bridge?: { readonly hasSpanningTree: boolean; readonly forwardDelayMs: number };
  /** What only bonds have; `mode` is the kernel's number (linux/if_bonding.h). Without a monitor its time is 0. */
  readonly bond?: {
    readonly mode: number;
    readonly miiEveryMs: number;
    readonly upDelayMs: number;
    readonly downDelayMs: number;
  };
  /** Megabits a second; undefined where there is no such thing, or no link. */
  readonly speedMbps: number | undefined;
  readonly addresses: readonly {
    readonly family: Family;
    readonly address: string;
    readonly prefix: number;
  }[];
}

const RTM_GETLINK = 18;
// linux/if_link.h
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_VLAN_ID = 1;
const IFLA_BR_FORWARD_DELAY = 1;
const IFLA_BR_STP_STATE = 5;
const IFLA_BOND_MODE = 1;
const IFLA_BOND_MIIMON = 3;
const IFLA_BOND_UPDELAY = 4;
const IFLA_BOND_DOWNDELAY = 5;
const IFF_UP = 1;
// linux/if_arp.h
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;

/** linux/if.h, IF_OPER_*. */
const operationalStates = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'];

/** All interfaces in this network namespace, in the kernel's order. Needs no rights. @throws VirtError link.failed */
export function listHostInterfaces(): HostInterface[] {
  try {
    return readInterfaces();
  } catch (error) {
    throw linkError(error, 'list the interfaces of the host');
  }
}

function readInterfaces(): HostInterface[] {
  const body = Buffer.alloc(16); // struct ifinfomsg, all zero: every link
  const request = { protocol: NETLINK_ROUTE, type: RTM_GETLINK, body, what: 'list the interfaces' };
  const links = netlinkQuery(request, true).map(parseInterface);
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const addresses = listAddresses(links.map(asHostLink));
  const speeds = listSpeeds();
  return links.map(({ masterIndex, parentIndex, ...link }) => ({
    ...link,
    master: names.get(masterIndex ?? 0),
    parent: names.get(parentIndex ?? 0),
    speedMbps: speeds.get(link.index),
    addresses: addresses
      .filter(({ link: name }) => name === link.name)
      .map(({ family, address, prefix }) => ({ family, address, prefix })),
  }));
}

type RawInterface = Omit<HostInterface, 'master' | 'parent' | 'speedMbps' | 'addresses'> & {
  readonly masterIndex: number | undefined;
  readonly parentIndex: number | undefined;
};

/** struct ifinfomsg: family, pad, type (16 bits at 2), index (at 4), flags (at 8), change; then the attributes. */
export function parseInterface(body: Buffer): RawInterface {
  const attributes = parseAttributes(body.subarray(16));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const data = parseAttributes(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0));
  const kind = attributeText(info.get(IFLA_INFO_KIND));
  const hardware = body.readUInt16LE(2);
  const mac = attributes.get(IFLA_ADDRESS);
  const number = (type: number) => attributes.get(type)?.readUInt32LE(0);
  return {
    index: body.readInt32LE(4),
    name: attributeText(attributes.get(IFLA_IFNAME)) ?? '',
    type: typeOf(kind, hardware),
    isUp: (body.readUInt32LE(8) & IFF_UP) !== 0,
    state: operationalStates[attributes.get(IFLA_OPERSTATE)?.readUInt8(0) ?? 0] ?? 'unknown',
    mac: mac?.length === 6 && hardware === ARPHRD_ETHER ? macText(mac) : undefined,
    mtu: number(IFLA_MTU) ?? 0,
    masterIndex: number(IFLA_MASTER),
    // A number of another namespace would name a stranger here.
    parentIndex: attributes.has(IFLA_LINK_NETNSID) ? undefined : number(IFLA_LINK),
    vlanId: kind === 'vlan' ? data.get(IFLA_VLAN_ID)?.readUInt16LE(0) : undefined,
    ...(kind === 'bridge' && { bridge: bridgeOf(data) }),
    ...(kind === 'bond' && { bond: bondOf(data) }),
  };
}

/** The delay in hundredths of a second (USER_HZ). */
function bridgeOf(data: ReadonlyMap<number, Buffer>): HostInterface['bridge'] & object {
  return {
    hasSpanningTree: (data.get(IFLA_BR_STP_STATE)?.readUInt32LE(0) ?? 0) !== 0,
    forwardDelayMs: (data.get(IFLA_BR_FORWARD_DELAY)?.readUInt32LE(0) ?? 0) * 10,
  };
}

function bondOf(data: ReadonlyMap<number, Buffer>): HostInterface['bond'] & object {
  const number = (type: number) => data.get(type)?.readUInt32LE(0) ?? 0;
  return {
    mode: data.get(IFLA_BOND_MODE)?.readUInt8(0) ?? 0,
    miiEveryMs: number(IFLA_BOND_MIIMON),
    upDelayMs: number(IFLA_BOND_UPDELAY),
    downDelayMs: number(IFLA_BOND_DOWNDELAY),
  };
}

function typeOf(kind: string | undefined, hardware: number): string {
  if (kind === 'tun') return hardware === ARPHRD_ETHER ? 'tap' : 'tun';
  if (kind !== undefined) return kind;
  if (hardware === ARPHRD_LOOPBACK) return 'loopback';
  return hardware === ARPHRD_ETHER ? 'ethernet' : 'other';
}

function asHostLink({ index, name, mac, mtu, isUp }: RawInterface) {
  return { index, name, mac, mtu, isUp, kind: undefined, master: undefined };
}

const NETLINK_GENERIC = 16;
// linux/genetlink.h
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
// linux/ethtool_netlink.h
const ETHTOOL_MSG_LINKMODES_GET = 4;
const ETHTOOL_A_LINKMODES_HEADER = 1;
const ETHTOOL_A_LINKMODES_SPEED = 5;
const ETHTOOL_A_HEADER_DEV_INDEX = 1;
const SPEED_UNKNOWN = 0xffff_ffff;

/** struct genlmsghdr: command, version (8 bits each), reserved. */
function genericBody(command: number, attributes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([command, 1, 0, 0]), attributes]);
}

/** Speeds by index of the interface; none on a kernel before 5.6, which has no such family. */
function listSpeeds(): Map<number, number> {
  const speeds = new Map<number, number>();
  try {
    for (const body of linkModes()) {
      const attributes = parseAttributes(body.subarray(4));
      const header = parseAttributes(attributes.get(ETHTOOL_A_LINKMODES_HEADER) ?? Buffer.alloc(0));
      const index = header.get(ETHTOOL_A_HEADER_DEV_INDEX)?.readUInt32LE(0);
      const speed = attributes.get(ETHTOOL_A_LINKMODES_SPEED)?.readUInt32LE(0);
      if (index !== undefined && speed !== undefined && speed !== 0 && speed !== SPEED_UNKNOWN)
        speeds.set(index, speed);
    }
  } catch (error) {
    // Without ethtool's family, or a driver that has no word on it, there are no speeds; the rest is as useful.
    if (!(error instanceof FfiError)) throw error;
  }
  return speeds;
}

function linkModes(): Buffer[] {
  const protocol = NETLINK_GENERIC;
  const name = textAttribute(CTRL_ATTR_FAMILY_NAME, 'ethtool');
  const body = genericBody(CTRL_CMD_GETFAMILY, name);
  const [answer] = netlinkQuery({ protocol, type: GENL_ID_CTRL, body, what: 'look up ethtool' }, false);
  const family = parseAttributes(answer?.subarray(4) ?? Buffer.alloc(0)).get(CTRL_ATTR_FAMILY_ID);
  if (family === undefined) return [];
  const get = genericBody(ETHTOOL_MSG_LINKMODES_GET, Buffer.alloc(0));
  return netlinkQuery(
    { protocol, type: family.readUInt16LE(0), body: get, what: 'ask for link speeds' },
    true,
  );
}
