/** What networks ask of domains: who is connected, and which addresses are whose. */
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { Domain } from './domain.ts';
import type { DomainService } from './domain-service.ts';
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

function isOn({ source }: Interface, network: string): boolean {
  return source.type === 'network' && source.network === network;
}

function portsOf(domain: Domain): NetworkPort[] {
  const { interfaces = [] } = domain.live?.guest.definition.devices ?? {};
  return interfaces.flatMap((nic) => {
    const { source, target, mac } = nic;
    if (source.type !== 'network' || target?.dev === undefined || mac === undefined) return [];
    const { uuid, name } = domain;
    return [{ network: source.network, domain: { uuid, name }, mac: mac.address, device: target.dev }];
  });
}
