/** MAC address and VLAN of virtual functions of SR-IOV cards, which their physical function sets (rtnetlink, IFLA_VFINFO_LIST). */
import { isVirtError, VirtError } from '../../base/errors.ts';
import {
  attribute,
  isGone,
  listAttributes,
  nestedAttribute,
  netlinkQuery,
  numberAttribute,
  parseAttributes,
} from '../../base/netlink.ts';
import { linkError } from './link-error.ts';
import {
  linkByName,
  linkHeader,
  macBytes,
  macText,
  NETLINK_ROUTE,
  RTM_GETLINK,
  RTM_SETLINK,
  sendRoute,
} from './rtnetlink.ts';

// linux/if_link.h
const IFLA_VFINFO_LIST = 22;
const IFLA_EXT_MASK = 29;
const IFLA_VF_INFO = 1;
const IFLA_VF_MAC = 1;
const IFLA_VF_VLAN = 2;
/** linux/rtnetlink.h: a dump of a link with what it knows of its functions. */
const RTEXT_FILTER_VF = 1;
/** struct ifla_vf_mac: the function's number, and MAX_ADDR_LEN bytes of which Ethernet uses six. */
const VF_MAC_BYTES = 4 + 32;

/** What the physical function sees to, whoever has the virtual one. */
export interface FunctionSettings {
  /** All zeros where nobody chose one: the function's driver then makes one up. */
  readonly mac: string;
  /** Tag of IEEE 802.1Q that its frames get outside; 0 for none. */
  readonly vlan: number;
  /** Priority in that tag. */
  readonly qos: number;
}

/**
 * The settings of function `number` of the card whose physical function is the interface `link`.
 * @throws VirtError link.failed
 */
export function functionSettings(link: string, number: number): FunctionSettings {
  const wanted = `look at virtual function ${number} of ${link}`;
  return told(wanted, () => {
    const found = readFunctions(link).get(number);
    if (found !== undefined) return found;
    throw new VirtError('link.failed', { wanted, reason: `the driver of ${link} tells of no such function` });
  });
}

function readFunctions(link: string): Map<number, FunctionSettings> {
  const body = Buffer.concat([
    linkHeader({ index: linkByName(link).index }),
    numberAttribute(IFLA_EXT_MASK, RTEXT_FILTER_VF),
  ]);
  const what = `look at the functions of ${link}`;
  const [answer] = netlinkQuery({ protocol: NETLINK_ROUTE, type: RTM_GETLINK, body, what }, false);
  return answer === undefined ? new Map() : parseFunctions(answer);
}

/** Settings by the functions' numbers, from a link's message (struct ifinfomsg, then attributes). */
export function parseFunctions(message: Buffer): Map<number, FunctionSettings> {
  const list = parseAttributes(message.subarray(16)).get(IFLA_VFINFO_LIST);
  return new Map((list === undefined ? [] : listAttributes(list)).flatMap(parseFunction));
}

/** One IFLA_VF_INFO; none for what is too short to be one. */
function parseFunction(info: Buffer): [number, FunctionSettings][] {
  const parts = parseAttributes(info);
  const mac = parts.get(IFLA_VF_MAC);
  if (mac === undefined || mac.length < 10) return [];
  // struct ifla_vf_vlan: number, VLAN, priority, 32 bits each.
  const vlan = parts.get(IFLA_VF_VLAN);
  const hasVlan = vlan !== undefined && vlan.length >= 12;
  const settings = {
    mac: macText(mac.subarray(4, 10)),
    vlan: hasVlan ? vlan.readUInt32LE(4) : 0,
    qos: hasVlan ? vlan.readUInt32LE(8) : 0,
  };
  return [[mac.readUInt32LE(0), settings]];
}

/**
 * Gives the function an address and a VLAN; what is so already is left alone, since not all cards know VLANs.
 * @throws VirtError link.failed
 */
export function setFunction(link: string, number: number, settings: FunctionSettings): void {
  const before = functionSettings(link, number);
  told(`set up virtual function ${number} of ${link}`, () => {
    if (settings.mac !== before.mac) setMac(link, number, settings.mac);
    if (settings.vlan !== before.vlan || settings.qos !== before.qos) setVlan(link, number, settings);
  });
}

/** An address of nobody's, for cards that do not let one be taken away again. */
const PLACEHOLDER_MAC = '02:00:00:00:00:00';

/** Puts back what was before; a card that is gone needs nothing. @throws VirtError link.failed */
export function restoreFunction(link: string, number: number, settings: FunctionSettings): void {
  try {
    linkByName(link);
  } catch (error) {
    if (isGone(error)) return;
    throw linkError(error, `look at interface ${link}`);
  }
  try {
    setFunction(link, number, settings);
  } catch (error) {
    if (settings.mac !== '00:00:00:00:00:00') throw error;
    setFunction(link, number, { ...settings, mac: PLACEHOLDER_MAC });
  }
}

function setMac(link: string, number: number, mac: string): void {
  send(link, macChange(number, mac), `set the address of function ${number} of ${link}`);
}

function setVlan(link: string, number: number, settings: FunctionSettings): void {
  send(link, vlanChange(number, settings), `set the VLAN of function ${number} of ${link}`);
}

/** The attribute that gives function `number` an address. */
export function macChange(number: number, mac: string): Buffer {
  const value = Buffer.alloc(VF_MAC_BYTES);
  value.writeUInt32LE(number, 0);
  macBytes(mac).copy(value, 4);
  return changeOf(attribute(IFLA_VF_MAC, value));
}

/** The attribute that gives function `number` a VLAN, or none. */
export function vlanChange(number: number, { vlan, qos }: Pick<FunctionSettings, 'vlan' | 'qos'>): Buffer {
  const value = Buffer.alloc(12);
  value.writeUInt32LE(number, 0);
  value.writeUInt32LE(vlan, 4);
  value.writeUInt32LE(qos, 8);
  return changeOf(attribute(IFLA_VF_VLAN, value));
}

function changeOf(change: Buffer): Buffer {
  return nestedAttribute(IFLA_VFINFO_LIST, [nestedAttribute(IFLA_VF_INFO, [change])]);
}

function send(link: string, change: Buffer, what: string): void {
  const header = linkHeader({ index: linkByName(link).index });
  sendRoute(RTM_SETLINK, Buffer.concat([header, change]), what);
}

function told<T>(wanted: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw isVirtError(error) ? error : linkError(error, wanted);
  }
}
