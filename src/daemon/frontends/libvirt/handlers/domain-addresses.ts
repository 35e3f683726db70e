/** Addresses of a guest's network cards, as far as the host knows them: from the leases of its networks. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Lease } from '../../../../net/plan.ts';
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
      if (from !== source.lease) throw unsupported(from);
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

function unsupported(from: number): LibvirtError {
  const name =
    from === source.agent ? 'the guest agent' : from === source.arp ? 'the ARP table' : `source ${from}`;
  return new LibvirtError(
    errorNumber.argumentUnsupported,
    `addresses are known from leases, not from ${name}`,
  );
}
