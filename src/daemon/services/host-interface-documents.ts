/** The host's interfaces as libvirt's interface documents, made from what the kernel tells by netlink. */
import { VirtError } from '../../base/errors.ts';
import {
  bondModes,
  formatHostInterface,
  type HostInterfaceDef,
} from '../../model/host-interface/host-interface.ts';
import { type HostInterface, listHostInterfaces } from '../../net/links/host-interfaces.ts';

/**
 * One interface in libvirt's interface XML, as it is now.
 * @throws VirtError host-interface.not-found, link.failed
 */
export function hostInterfaceXml(name: string, all: readonly HostInterface[] = listHostInterfaces()): string {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return formatHostInterface(definitionOf(found, all));
  throw new VirtError('host-interface.not-found', {
    reason: `the host has no network interface '${name}'`,
    hint: "'vireo host interfaces' lists those it has",
  });
}

function definitionOf(one: HostInterface, all: readonly HostInterface[]): HostInterfaceDef {
  const { name, mtu, state, speedMbps, addresses } = one;
  const shared = {
    name,
    mtu,
    addresses,
    link: { state, ...(speedMbps !== undefined && state === 'up' && { speedMbps }) },
  };
  // A bridge on a bridge is not possible, so this ends.
  const ports = () => all.filter(({ master }) => master === name).map((port) => definitionOf(port, all));
  if (one.type === 'bridge' && one.bridge !== undefined) {
    const { hasSpanningTree, forwardDelayMs } = one.bridge;
    return {
      type: 'bridge',
      ...shared,
      hasSpanningTree,
      delaySeconds: forwardDelayMs / 1000,
      ports: ports(),
    };
  }
  if (one.type === 'bond' && one.bond !== undefined) {
    const { mode: number, miiEveryMs, upDelayMs, downDelayMs } = one.bond;
    const mode = bondModes[number];
    return {
      type: 'bond',
      ...shared,
      ...(mode !== undefined && { mode }),
      ...(miiEveryMs > 0 && { miiMonitor: { everyMs: miiEveryMs, upDelayMs, downDelayMs } }),
      ports: ports(),
    };
  }
  if (one.type === 'vlan' && one.vlanId !== undefined && one.parent !== undefined)
    return { type: 'vlan', ...shared, tag: one.vlanId, parent: one.parent };
  return { type: 'ethernet', ...shared, ...(one.mac !== undefined && { mac: one.mac }) };
}
