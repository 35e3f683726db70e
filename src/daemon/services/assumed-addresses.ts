/**
 * What a guest's address on QEMU's own user network most likely is. Nobody on the host can know it while the guest has no connection
 * open: its DHCP server keeps no list that could be read. But a guest that asks it gets the first address, since no other guest is on
 * that network.
 */
import { formatIp, offsetIp, parseIp, subnetOf } from '../../base/ip.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';

/** QEMU's network where the definition names none (qemu(1), -netdev user, net=). */
const DEFAULT_NET = { address: '10.0.2.0', prefix: 24 };
/** The first address that it gives: the 15th of the network (qemu(1), dhcpstart=). */
const FIRST = 15;

export interface AssumedAddress {
  readonly alias: string | undefined;
  readonly address: string;
  readonly prefix: number;
}

/** One for each card on a user network of QEMU's; none with passt, which gives the host's own address. Pure. */
export function assumedAddresses(nics: readonly Interface[]): AssumedAddress[] {
  return nics.flatMap((nic) => {
    const { source, backend, ips, alias } = nic;
    if (source.type !== 'user' || backend?.type === 'passt') return [];
    const said = ips.find(({ family, address }) => family !== 'ipv6' && !address.includes(':'));
    const prefix = said?.prefix ?? DEFAULT_NET.prefix;
    const ip = parseIp(said?.address ?? DEFAULT_NET.address);
    if (ip === undefined || ip.family !== 4) return [];
    return [{ alias, address: formatIp(offsetIp(subnetOf(ip, prefix).base, FIRST)), prefix }];
  });
}
