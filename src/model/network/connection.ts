/** What holds for one interface of a domain on a network: its own settings, then its port group's, then the network's. */
import type { Problem } from '../../base/errors.ts';
import type { Interface } from '../domain/devices/interface.ts';
import { hasOwnBridge, type NetworkDef } from './network.ts';
import type { Portgroup } from './portgroup.ts';

export type Vlan = NonNullable<Interface['vlan']>;
export type Bandwidth = NonNullable<Interface['bandwidth']>;
type Virtualport = NonNullable<Interface['virtualport']>;

/** The settings of an interface as they are carried out. */
export interface Connection {
  /** The port group that gave some of them. */
  readonly portgroup?: string;
  readonly vlan?: Vlan;
  readonly bandwidth?: Bandwidth;
  readonly virtualport?: Virtualport;
  readonly isTrusted: boolean;
  readonly isIsolated: boolean;
  readonly mtu?: number;
  readonly macTable?: 'kernel' | 'libvirt';
}

/**
 * The port group an interface belongs to: the one that it names, else the default one. `undefined` where there is none;
 * an unknown name is the caller's error to tell.
 */
export function portgroupOf({ portgroups }: NetworkDef, wish: string | undefined): Portgroup | undefined {
  return portgroups.find((one) => (wish === undefined ? one.default === true : one.name === wish));
}

/** Settings of an interface that is on no virtual network. */
export function ownConnection(nic: Interface): Connection {
  return {
    ...(nic.vlan && { vlan: nic.vlan }),
    ...(nic.bandwidth && { bandwidth: nic.bandwidth }),
    ...(nic.virtualport && { virtualport: nic.virtualport }),
    isTrusted: nic.trustGuestRxFilters ?? false,
    isIsolated: nic.portIsolated ?? false,
    ...(nic.mtu !== undefined && { mtu: nic.mtu }),
  };
}

/**
 * Settings of an interface on a network; the nearest counts, whole elements at a time (libvirt's documentation of
 * portgroup). A network's own bandwidth is its bridge's and no interface's.
 */
export function connectionOn(nic: Interface, network: NetworkDef, group: Portgroup | undefined): Connection {
  const own = ownConnection(nic);
  const vlan = own.vlan ?? group?.vlan ?? network.vlan;
  const bandwidth = own.bandwidth ?? group?.bandwidth;
  const virtualport = own.virtualport ?? group?.virtualport ?? network.virtualport;
  const mtu = own.mtu ?? network.mtu;
  const macTable = hasOwnBridge(network) ? network.bridge?.macTableManager : undefined;
  return {
    ...(group && { portgroup: group.name }),
    ...(vlan && { vlan }),
    ...(bandwidth && { bandwidth }),
    ...(virtualport && { virtualport }),
    isTrusted: nic.trustGuestRxFilters ?? group?.trustGuestRxFilters ?? network.trustGuestRxFilters ?? false,
    isIsolated: own.isIsolated || network.portIsolated === true,
    ...(mtu !== undefined && { mtu }),
    ...(macTable && { macTable }),
  };
}

/** True when a network's bridge must tell VLANs apart: the network or one of its port groups has one. */
export function needsVlans({ vlan, portgroups }: NetworkDef): boolean {
  return vlan !== undefined || portgroups.some((group) => group.vlan !== undefined);
}

/** Tags of IEEE 802.1Q that carry traffic; 0 and 4095 are reserved. */
const FIRST_VLAN = 1;
const LAST_VLAN = 4094;

/** What is wrong with a `<vlan>`, by itself. More than one tag, or a native one, makes it a trunk, as in libvirt. */
export function vlanProblems(vlan: Vlan | undefined, path: string): Problem[] {
  if (vlan === undefined) return [];
  const { tags } = vlan;
  const problems: Problem[] = [];
  if (tags.length === 0) problems.push({ path: `${path}.tag`, message: 'is missing' });
  const seen = new Set<number>();
  for (const [i, tag] of tags.entries()) {
    const at = `${path}.tag[${i}]`;
    if (tag.id < FIRST_VLAN || tag.id > LAST_VLAN)
      problems.push({ path: `${at}.id`, message: `${tag.id} is reserved; tags are 1 to 4094` });
    if (seen.has(tag.id)) problems.push({ path: `${at}.id`, message: `${tag.id} is given twice` });
    seen.add(tag.id);
  }
  if (tags.filter((tag) => tag.nativeMode !== undefined).length > 1)
    problems.push({ path: `${path}.tag`, message: 'has more than one native VLAN' });
  return problems;
}

/** What is wrong with a `<bandwidth>`; `floor` belongs to interfaces only. */
export function bandwidthProblems(
  bandwidth: Bandwidth | undefined,
  path: string,
  { floor }: { readonly floor: 'allowed' | 'refused' },
): Problem[] {
  const problems: Problem[] = [];
  for (const direction of ['inbound', 'outbound'] as const) {
    const rates = bandwidth?.[direction];
    if (rates === undefined) continue;
    const at = `${path}.${direction}`;
    if (rates.average === undefined && rates.floor === undefined)
      problems.push({ path: `${at}.average`, message: 'is missing' });
    if (rates.floor !== undefined && (floor === 'refused' || direction === 'outbound'))
      problems.push({
        path: `${at}.floor`,
        message:
          direction === 'outbound'
            ? 'is for the inbound direction only'
            : 'belongs to interfaces, not to networks',
      });
    if (rates.peak !== undefined && rates.average !== undefined && rates.peak < rates.average)
      problems.push({ path: `${at}.peak`, message: 'is less than the average' });
  }
  return problems;
}
