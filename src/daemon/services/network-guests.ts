/** What networks ask of domains: who is connected, and which addresses are whose. */
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { Domain } from './domain.ts';
import type { DomainService } from './domain-service.ts';
import type { FilteredCard } from './guest-filters.ts';
import type { GuestDirectory, NetworkPort } from './network-world.ts';

/** `domains` is asked for when it is needed: the driver that it stands on gets its taps from the networks. */
export function guestDirectory(domains: () => DomainService): GuestDirectory {
  return {
    ports: () =>
      domains()
        .list({ active: true })
        .flatMap((domain) => portsOf(domain)),
    macsOf(name, network) {
      const domain = domains()
        .list()
        .find((one) => one.name === name);
      if (domain === undefined) return [];
      const { interfaces } = domains().definitions.definition(domain).devices;
      return interfaces.filter((nic) => isOn(nic, network)).flatMap((nic) => nic.mac?.address ?? []);
    },
  };
}

function isOn(nic: Interface, network: string): boolean {
  return networkOf(nic) === network;
}

/** The virtual network of an interface; while a guest runs it may be a bridge or a macvtap by type. */
function networkOf({ source }: Interface): string | undefined {
  return 'network' in source ? source.network : undefined;
}

function portsOf(domain: Domain): NetworkPort[] {
  const { interfaces = [] } = domain.live?.guest.definition.devices ?? {};
  return interfaces.flatMap((nic) => {
    const { target, mac } = nic;
    const network = networkOf(nic);
    if (network === undefined || target?.dev === undefined || mac === undefined) return [];
    const { uuid, name } = domain;
    return [{ network, domain: { uuid, name }, mac: mac.address, device: target.dev, definition: nic }];
  });
}

/** Network cards of running guests that have a filter on their tap. */
export function filteredCards(domains: DomainService): FilteredCard[] {
  return domains.list({ active: true }).flatMap((domain) => {
    const { interfaces = [] } = domain.live?.guest.definition.devices ?? {};
    const { uuid, name } = domain;
    return interfaces.flatMap((nic, index): FilteredCard[] => {
      const device = nic.target?.dev;
      if (nic.filterref === undefined || device === undefined) return [];
      return [{ domain: { uuid, name }, index, nic, device }];
    });
  });
}
