/** What an interface on a network of mode hostdev gets: one of which virtual functions, with what. Decides, touches nothing. */
import { VirtError } from '../../base/errors.ts';
import type { FunctionPool } from '../../drivers/driver.ts';
import { formatPci } from '../../model/domain/addresses/pci-map.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { connectionOn, portgroupOf } from '../../model/network/connection.ts';
import { forwardModeOf, type NetworkDef } from '../../model/network/network.ts';

/**
 * The functions of the network; undefined for one of another mode.
 * @throws VirtError definition.unsupported with the path, for a driver, a virtual port or limits that functions cannot have
 */
export function functionPool(nic: Interface, network: NetworkDef, path: string): FunctionPool | undefined {
  const { forward } = network;
  if (forward === undefined || forwardModeOf(network) !== 'hostdev') return undefined;
  const refuse = (part: string, message: string): never => {
    const where = `${path}.${part}`;
    throw new VirtError('definition.unsupported', {
      wanted: `connect ${path} to network '${network.name}'`,
      reason: `${where}: ${message}`,
      details: { problems: [{ path: where, message }] },
    });
  };
  const wish = 'portgroup' in nic.source ? nic.source.portgroup : undefined;
  const group = portgroupOf(network, wish);
  if (group === undefined && wish !== undefined)
    refuse('source.portgroup', `network '${network.name}' has no port group '${wish}'`);
  if (forward.driver !== undefined && forward.driver !== 'vfio')
    refuse('source.network', `the driver '${forward.driver}' of the network is not supported; vfio is`);
  const { vlan, bandwidth, virtualport, isTrusted, isIsolated } = connectionOn(nic, network, group);
  if (virtualport !== undefined)
    refuse('virtualport', `'${virtualport.type ?? 'unknown'}' of the network is not supported`);
  if (isTrusted) refuse('trustGuestRxFilters', 'a virtual function is not trusted by its card');
  if (isIsolated) refuse('port', 'needs a bridge');
  if (bandwidth !== undefined) refuse('bandwidth', 'a virtual function has no limits of ours');
  const { physical, addresses } = forward;
  if (physical === undefined && addresses.length === 0)
    refuse('source.network', `network '${network.name}' names neither a card (<pf>) nor devices (<address>)`);
  return {
    network: network.name,
    ...(physical && { physical: physical.dev }),
    addresses: addresses.map(formatPci),
    actual: {
      managed: forward.managed ?? false,
      ...(vlan && { vlan }),
    },
  };
}
