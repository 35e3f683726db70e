/** `<interface type='hostdev'>`: a virtual function of the host's card as the guest's own. */
import { formatPci } from '../../../model/domain/addresses/pci-map.ts';
import type { Interface } from '../../../model/domain/devices/interface.ts';
import { placement } from './address.ts';
import type { Build } from './context.ts';
import { romOptions } from './rom.ts';

const OWN_CARD = 'does not go with a device of the host';

/** The guest sees the card that it is, whatever model the definition names; its address and VLAN were set by the host. */
export function buildFunction(b: Build, nic: Interface, path: string, bootindex: number | undefined): void {
  const { source, driver } = nic;
  if (source.type !== 'hostdev') return;
  if (source.address.type !== 'pci') {
    b.problem(`${path}.source.address.type`, "'usb' is not supported; give it with <hostdev type='usb'>");
    return;
  }
  refuseParts(b, nic, path);
  const { name, ...options } = driver ?? {};
  b.refuse(`${path}.driver`, options, OWN_CARD);
  if (name !== undefined && name !== 'vfio')
    b.problem(`${path}.driver.name`, `'${name}' is not supported; use vfio`);
  b.device(path, {
    driver: 'vfio-pci',
    host: formatPci(source.address),
    failover_pair_id: nic.teaming?.type === 'transient' ? nic.teaming.persistent : undefined,
    ...placement(b, nic, path),
    ...romOptions(b, nic, path),
    bootindex,
  });
}

function refuseParts(b: Build, nic: Interface, path: string): void {
  const { filterref, bandwidth, backend, coalesce, script, downscript, mtu, virtualport, vlan } = nic;
  b.refuse(
    path,
    { filterref, bandwidth, backend, coalesce, script, downscript, mtu, portForward: nic.portForwards },
    OWN_CARD,
  );
  b.refuse(
    path,
    {
      ip: nic.ips,
      route: nic.routes,
      port: nic.portIsolated || undefined,
      tune: nic.sndbufBytes,
      link: nic.link === 'down' || undefined,
      trustGuestRxFilters: nic.trustGuestRxFilters || undefined,
    },
    OWN_CARD,
  );
  if (virtualport !== undefined)
    b.problem(
      `${path}.virtualport`,
      `'${virtualport.type ?? 'unknown'}' is not supported; 802.1Qbh needs lldpad`,
    );
  if (vlan !== undefined && (vlan.tags.length !== 1 || vlan.trunk === 'yes' || vlan.tags[0]?.nativeMode))
    b.problem(`${path}.vlan`, 'a virtual function has one VLAN, and no trunk');
  if (nic.teaming?.type === 'persistent')
    b.problem(`${path}.teaming`, "'persistent' needs a virtio interface");
}
