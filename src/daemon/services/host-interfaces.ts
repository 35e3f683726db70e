/** The host's interfaces with what of ours is on them: networks and running guests. Only looks; a session may, too. */
import { type HostInterface, listHostInterfaces } from '../../net/links/host-interfaces.ts';
import type { DomainService } from './domain-service.ts';
import type { NetworkService } from './network-service.ts';
import { shownFacts } from './network-world.ts';

/** Who of ours uses an interface. */
interface InterfaceOwner {
  readonly type: 'network' | 'domain';
  readonly uuid: string;
  readonly name: string;
}

export type OwnedInterface = HostInterface & { readonly owner: InterfaceOwner | undefined };

/** @throws VirtError link.failed when the kernel does not answer */
export function hostInterfaces(
  domains: DomainService,
  networks: NetworkService | undefined,
): OwnedInterface[] {
  const owners = ownersOf(domains, networks);
  return listHostInterfaces().map((one) => ({ ...one, owner: owners.get(one.name) }));
}

/** By name of the interface. A guest owns the device that was made for it, a network its bridge. */
function ownersOf(domains: DomainService, networks: NetworkService | undefined): Map<string, InterfaceOwner> {
  const owners = new Map<string, InterfaceOwner>();
  for (const network of networks?.list({ active: true }) ?? []) {
    const { bridge } = shownFacts(network);
    const isItsOwn = network.live?.definition.forward?.mode !== 'bridge';
    if (bridge !== undefined && isItsOwn)
      owners.set(bridge, { type: 'network', uuid: network.uuid, name: network.name });
  }
  for (const domain of domains.list({ active: true }))
    for (const nic of domain.live?.guest.definition.devices.interfaces ?? [])
      if (nic.target?.dev !== undefined)
        owners.set(nic.target.dev, { type: 'domain', uuid: domain.uuid, name: domain.name });
  return owners;
}
