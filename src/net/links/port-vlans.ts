/** VLANs of a bridge's ports (bridge(8), `bridge vlan`), by rtnetlink. */
import { errnoOf, VirtError } from '../../base/errors.ts';
import {
  attribute,
  nestedAttribute,
  netlinkQuery,
  numberAttribute,
  parseAttributes,
  textAttribute,
} from '../../base/netlink.ts';
import type { HostLink } from '../plan.ts';
import type { PortVlan } from './requests.ts';
import {
  linkHeader,
  NETLINK_ROUTE,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
  sendRoute,
} from './rtnetlink.ts';

const AF_BRIDGE = 7;
// linux/if_link.h
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const IFLA_BR_VLAN_FILTERING = 7;
// linux/if_bridge.h
const IFLA_BRIDGE_FLAGS = 0;
const IFLA_BRIDGE_VLAN_INFO = 2;
const BRIDGE_FLAGS_SELF = 2;
const BRIDGE_VLAN_INFO_PVID = 0x02;
const BRIDGE_VLAN_INFO_UNTAGGED = 0x04;
// linux/rtnetlink.h
const RTEXT_FILTER_BRVLAN = 0x02;

/** Whether a bridge looks at tags. */
export function filtersVlans(bridge: HostLink): boolean {
  const body = linkHeader({ index: bridge.index });
  const request = { protocol: NETLINK_ROUTE, type: RTM_GETLINK, body, what: `look at ${bridge.name}` };
  const attributes = parseAttributes(netlinkQuery(request, false)[0]?.subarray(16) ?? Buffer.alloc(0));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const data = parseAttributes(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0));
  return data.get(IFLA_BR_VLAN_FILTERING)?.readUInt8(0) === 1;
}

/** Makes a bridge look at tags: ports that nobody gave VLANs are in VLAN 1, untagged. @throws VirtError link.failed */
export function filterVlans(bridge: HostLink): void {
  const data = nestedAttribute(IFLA_INFO_DATA, [numberAttribute(IFLA_BR_VLAN_FILTERING, 1, 1)]);
  const info = nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, 'bridge'), data]);
  const what = `let bridge ${bridge.name} tell VLANs apart`;
  try {
    sendRoute(RTM_NEWLINK, Buffer.concat([linkHeader({ index: bridge.index }), info]), what);
  } catch (error) {
    if (!isUnsupported(error)) throw error;
    throw new VirtError('link.failed', {
      wanted: what,
      reason: 'bridges of this kernel do not know VLANs (CONFIG_BRIDGE_VLAN_FILTERING)',
      hint: 'leave <vlan> out, or use another kernel',
      cause: error,
    });
  }
}

function isUnsupported(error: unknown): boolean {
  return ['EOPNOTSUPP', 'ENOTSUP'].includes(errnoOf(error) ?? '');
}

/** Gives a port exactly these VLANs; `self` means the bridge's own end, through which the host takes part. */
export function setPortVlans(
  port: HostLink,
  vlans: readonly PortVlan[],
  options: { readonly self: boolean },
): void {
  const wanted = new Set(vlans.map(({ id }) => id));
  for (const id of listPortVlans(port))
    if (!wanted.has(id)) change(RTM_DELLINK, port, { id, isNative: false, isUntagged: false }, options);
  for (const vlan of vlans) change(RTM_SETLINK, port, vlan, options);
}

function change(
  type: number,
  port: HostLink,
  { id, isNative, isUntagged }: PortVlan,
  { self }: { readonly self: boolean },
): void {
  // struct bridge_vlan_info: flags and tag, 16 bits each.
  const info = Buffer.alloc(4);
  info.writeUInt16LE(
    (isNative ? BRIDGE_VLAN_INFO_PVID : 0) | (isUntagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0),
    0,
  );
  info.writeUInt16LE(id, 2);
  const body = Buffer.concat([
    linkHeader({ index: port.index, family: AF_BRIDGE }),
    nestedAttribute(IFLA_AF_SPEC, [
      ...(self ? [numberAttribute(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF, 2)] : []),
      attribute(IFLA_BRIDGE_VLAN_INFO, info),
    ]),
  ]);
  sendRoute(
    type,
    body,
    `${type === RTM_DELLINK ? 'take' : 'put'} ${port.name} ${type === RTM_DELLINK ? 'out of' : 'into'} VLAN ${id}`,
  );
}

/** The tags of a port, or of a bridge's own end. */
export function listPortVlans(port: HostLink): number[] {
  const body = Buffer.concat([
    linkHeader({ family: AF_BRIDGE }),
    numberAttribute(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN),
  ]);
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETLINK,
    body,
    what: 'list the VLANs of bridge ports',
  };
  const own = netlinkQuery(request, true).find((link) => link.readInt32LE(4) === port.index);
  const spec = own && parseAttributes(own.subarray(16)).get(IFLA_AF_SPEC);
  return spec === undefined ? [] : vlanIds(spec);
}

/** One attribute for each VLAN, all of the same type. */
function vlanIds(spec: Buffer): number[] {
  const ids: number[] = [];
  for (let at = 0; at + 8 <= spec.length; ) {
    const length = spec.readUInt16LE(at);
    if (length < 4) break;
    if (spec.readUInt16LE(at + 2) === IFLA_BRIDGE_VLAN_INFO) ids.push(spec.readUInt16LE(at + 6));
    at += (length + 3) & ~3;
  }
  return ids;
}
