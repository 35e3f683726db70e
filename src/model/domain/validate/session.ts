/** What a domain cannot have in session mode, where the daemon is an ordinary user. */
import type { Problem } from '../../../base/errors.ts';
import type { Disk } from '../devices/disk.ts';
import type { Graphics } from '../devices/graphics.ts';
import type { Hostdev } from '../devices/hostdev.ts';
import type { Interface } from '../devices/interface.ts';
import type { DomainDef } from '../domain.ts';

/**
 * Everything in the definition that needs the system daemon. Virtual networks come first: the driver throws
 * network.session with the first message, and says what works instead.
 */
export function sessionProblems(definition: DomainDef): Problem[] {
  const { interfaces, graphics, hostdevs, disks } = definition.devices;
  const networks = interfaces.flatMap((nic, i) => at(`devices.interface[${i}].type`, networkProblem(nic)));
  return [
    ...networks,
    ...interfaces.flatMap((nic, i) => at(`devices.interface[${i}].type`, linkProblem(nic))),
    ...interfaces.flatMap((nic, i) => at(`devices.interface[${i}].filterref`, filterProblem(nic))),
    ...graphics.flatMap((one, i) => at(`devices.graphics[${i}].listen`, listenProblem(one))),
    ...hostdevs.flatMap((one, i) => at(`devices.hostdev[${i}].type`, hostdevProblem(one))),
    ...disks.flatMap((disk, i) => at(`devices.disk[${i}]`, diskProblem(disk))),
  ];
}

function at(path: string, message: string | undefined): Problem[] {
  return message === undefined ? [] : [{ path, message }];
}

function networkProblem({ source }: Interface): string | undefined {
  if (source.type !== 'network') return undefined;
  return `network '${source.network}' is a virtual network, and those need the system connection (qemu:///system)`;
}

function linkProblem(nic: Interface): string | undefined {
  switch (nic.source.type) {
    case 'direct':
      return `a macvtap device on '${nic.source.dev}' can only be made by the system daemon`;
    case 'ethernet':
      // A tap that somebody made for this user beforehand needs no rights of ours.
      if (nic.target?.managed === false) return undefined;
      return `a tap device can only be made by the system daemon`;
    case 'hostdev':
      return `a network device of the host can only be assigned by the system daemon`;
    case 'vdpa':
      return `a vDPA device can only be opened by the system daemon`;
    default:
      return undefined;
  }
}

function filterProblem({ filterref }: Interface): string | undefined {
  if (filterref === undefined) return undefined;
  return `the filter '${filterref.filter}' is firewall rules, which only the system daemon can set (qemu:///system)`;
}

function listenProblem(graphics: Graphics): string | undefined {
  if (!('listens' in graphics) || graphics.listens[0]?.type !== 'network') return undefined;
  return "listening on a virtual network needs the system connection (qemu:///system); use <listen type='address'/>";
}

function hostdevProblem({ source }: Hostdev): string | undefined {
  switch (source.type) {
    case 'pci':
    case 'mdev':
      return `assigning a ${source.type === 'pci' ? 'PCI' : 'mediated'} device needs VFIO, which only the system daemon may use (qemu:///system)`;
    case 'scsi_host':
      return 'vhost-scsi can only be used by the system daemon (qemu:///system)';
    default:
      return undefined;
  }
}

function diskProblem(disk: Disk): string | undefined {
  if (disk.source.type === 'nvme')
    return 'assigning an NVMe controller needs VFIO, which only the system daemon may use (qemu:///system)';
  if (disk.rawio === true)
    return 'raw I/O needs a capability that only the system daemon has (qemu:///system)';
  return undefined;
}
