/** Addresses of a guest's network cards: from leases, from its agent, from the host's neighbour table. */
import type { AgentInterface } from '../../../../drivers/driver.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Lease } from '../../../../net/plan.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf } from './support.ts';

/** virDomainInterfaceAddressesSource. */
const source = { lease: 0, agent: 1, arp: 2 } as const;
/** virIPAddrType. */
const addressType = { 4: 0, 6: 1 } as const;

export function domainAddressHandlers(engine: Engine) {
  return {
    domainInterfaceAddresses: async ({ dom, source: from, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const { guest } = domain.requireLive('ask for addresses of');
      if (from === source.agent) return { ifaces: (await guest.agentInterfaces()).map(agentInterfaceOf) };
      if (from === source.arp) return { ifaces: await seenByHost(engine, domain) };
      if (from !== source.lease)
        throw new LibvirtError(errorNumber.argumentUnsupported, `Unknown IP address data source ${from}`);
      const { interfaces } = guest.definition.devices;
      const found = await Promise.all(
        interfaces.map(async ({ source: where, mac, target }) => {
          if (where.type !== 'network' || mac === undefined) return [];
          const leases = await leasesOn(engine, where.network, mac.address);
          if (leases.length === 0) return [];
          return [{ name: target?.dev ?? where.network, hwaddr: mac.address, addrs: leases.map(addressOf) }];
        }),
      );
      return { ifaces: found.flat() };
    },
  } satisfies RemoteHandlers;
}

async function leasesOn({ networks }: Engine, name: string, mac: string): Promise<Lease[]> {
  const network = networks?.list({ active: true }).find((one) => one.name === name);
  if (networks === undefined || network === undefined) return [];
  return (await networks.leases(network)).filter((lease) => lease.mac === mac.toLowerCase());
}

function addressOf({ family, address, prefix }: Lease) {
  return { type: addressType[family], addr: address, prefix };
}

function agentInterfaceOf({ name, mac, addresses }: AgentInterface) {
  const addrs = addresses.map(({ family, address, prefix }) => ({
    type: addressType[family],
    addr: address,
    prefix,
  }));
  return { name, hwaddr: mac ?? null, addrs };
}

/** The kernel's table knows no prefixes: clients get 0, as from libvirt. */
async function seenByHost({ domains }: Engine, domain: Domain) {
  const { interfaces } = await domains.addresses.find(domain, ['arp']);
  return interfaces.flatMap(({ hostDevice, mac, addresses }) => {
    if (hostDevice === undefined || addresses.length === 0) return [];
    const addrs = addresses.map(({ family, address }) => ({
      type: addressType[family],
      addr: address,
      prefix: 0,
    }));
    return [{ name: hostDevice, hwaddr: mac ?? null, addrs }];
  });
}
