/** Devices of the host that one guest asks for: claimed, taken from their drivers, opened to its user. */
import { VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import { formatPci } from '../../model/domain/addresses/pci-map.ts';
import type { Hostdev } from '../../model/domain/devices/hostdev.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { scsiHostPlace } from '../../model/domain/host-scsi.ts';
import type { HostDeviceProvider } from '../driver.ts';
import type { Claim, ClaimStore } from './claims.ts';
import { listUsb } from './list.ts';
import { bindToVfio, linksBehind, mountsBehind, type PciGrant, planPci, VFIO } from './pci.ts';
import { requireVhostTarget, usableScsi } from './scsi.ts';
import type { SysfsWriter } from './sysfs-writer.ts';
import { findUsb } from './usb.ts';
import { type FunctionLinks, requireFunction, settingsFor } from './virtual-functions.ts';

export type TakeRequest = Parameters<HostDeviceProvider['take']>[0];

interface TakingParts {
  readonly files: HostFiles;
  readonly sysfs: SysfsWriter;
  readonly nodes: { grant(path: string, uid: number): void };
  /** Left out where nobody may set up virtual functions. */
  readonly functions: FunctionLinks | undefined;
  readonly claims: ClaimStore;
  readonly log: Logger;
  /** A function that was set aside has its guest now. */
  readonly onFunction: (address: string) => void;
}

/** What was taken before a failure keeps its claim: whoever asked gives it back. */
export class DeviceTaking {
  private readonly parts: TakingParts;

  constructor(parts: TakingParts) {
    this.parts = parts;
  }

  /**
   * Takes all; the definition then says which devices they are.
   * @throws VirtError host-device.*, file.*, link.failed
   */
  async take(request: TakeRequest): Promise<DomainDef> {
    const { definition } = request;
    const hostdevs: Hostdev[] = [];
    const grants = this.plan(request);
    for (const [index, hostdev] of definition.devices.hostdevs.entries()) {
      const kept = await this.takeOne(request, hostdev, index, grants);
      if (kept !== undefined) hostdevs.push(kept);
    }
    for (const [index, nic] of definition.devices.interfaces.entries())
      await this.takeFunction(request, nic, index, grants);
    return { ...definition, devices: { ...definition.devices, hostdevs } };
  }

  /** All PCI devices at once: those of one group may go to a guest together. */
  private plan(request: TakeRequest): Map<string, PciGrant> {
    const { hostdevs, interfaces } = request.definition.devices;
    const functions = interfaces.flatMap((nic, index) => {
      const address = functionOf(nic);
      const path = `devices.interface[${index}].source`;
      return address === undefined
        ? []
        : [{ address, isManaged: nic.managed === true, driver: undefined, path }];
    });
    const requests = hostdevs.flatMap((hostdev, index) =>
      hostdev.source.type === 'pci'
        ? [
            {
              address: formatPci(hostdev.source.address),
              isManaged: hostdev.managed === true,
              driver: hostdev.driver?.model,
              path: pathOf(index),
            },
          ]
        : [],
    );
    const grants = planPci(this.parts.files, wantedOf(request), [...functions, ...requests]);
    return new Map(grants.map((grant) => [grant.address, grant]));
  }

  private async takeOne(
    request: TakeRequest,
    hostdev: Hostdev,
    index: number,
    grants: ReadonlyMap<string, PciGrant>,
  ): Promise<Hostdev | undefined> {
    const { source } = hostdev;
    switch (source.type) {
      case 'pci': {
        const grant = grants.get(formatPci(source.address));
        if (grant !== undefined) await this.takePci(request, grant);
        return hostdev;
      }
      case 'mdev':
        await this.takeMdev(request, source.uuid, index);
        return hostdev;
      case 'usb':
        return this.takeUsb(request, hostdev, index);
      case 'scsi':
        await this.takeScsi(request, hostdev, index);
        return hostdev;
      case 'scsi_host':
        requireVhostTarget(this.parts.files, source.wwpn, wantedOf(request), pathOf(index));
        await this.claim(request, { device: `vhost-scsi ${source.wwpn}`, isMoved: false });
        return hostdev;
    }
  }

  /** Its address and VLAN are set before the guest has it; what was before is noted before that. */
  private async takeFunction(
    request: TakeRequest,
    nic: Interface,
    index: number,
    grants: ReadonlyMap<string, PciGrant>,
  ): Promise<void> {
    const address = functionOf(nic);
    const grant = address === undefined ? undefined : grants.get(address);
    if (address === undefined || grant === undefined) return;
    const path = `devices.interface[${index}].source`;
    const { functions, onFunction } = this.parts;
    if (functions === undefined)
      throw new VirtError('host-device.unusable', {
        wanted: wantedOf(request),
        reason: `${path}: only the system daemon may set up virtual functions`,
      });
    const { link, number } = requireFunction(this.parts.files, address, { wanted: wantedOf(request), path });
    const before = functions.settings(link, number);
    await this.takePci(request, grant, {
      note: { link, number, ...before },
      setUp: () => functions.set(link, number, settingsFor(nic, before)),
    });
    onFunction(address);
  }

  private async takePci(
    request: TakeRequest,
    { address, group, takeFrom, driver }: PciGrant,
    own?: { readonly note: Claim['function']; readonly setUp: () => void },
  ): Promise<void> {
    this.refuseOwnDisk(request, address, takeFrom !== undefined);
    const isMoved = takeFrom !== undefined;
    const function_ = own?.note && { function: own.note };
    const rights = this.vfioNode(request, group);
    await this.claim(request, { device: `pci ${address}`, isMoved, ...function_, ...rights });
    own?.setUp();
    if (isMoved) {
      await bindToVfio(this.parts.files, this.parts.sysfs, address, driver);
      this.parts.log.info(
        { domain: request.domainName, address, from: takeFrom.driver, to: driver ?? VFIO },
        'moved a PCI device to VFIO',
      );
    }
    this.openGroup(request, group);
  }

  /** A disk that the host has mounted stays; a network card that is up may be what was meant. */
  private refuseOwnDisk(request: TakeRequest, address: string, isMoved: boolean): void {
    if (!isMoved) return;
    refuseMounted(this.parts.files, address, wantedOf(request));
    for (const link of linksBehind(this.parts.files, address))
      this.parts.log.warn(
        { domain: request.domainName, address, link },
        'the host loses a network interface that is up',
      );
  }

  private async takeMdev(request: TakeRequest, uuid: string, index: number): Promise<void> {
    const link = this.parts.files.link(`/sys/bus/mdev/devices/${uuid}/iommu_group`);
    const group = link?.split('/').at(-1);
    if (group === undefined)
      throw new VirtError('host-device.not-found', {
        wanted: wantedOf(request),
        reason: `${pathOf(index)}: the host has no mediated device ${uuid}`,
        hint: "make it first, with 'mdevctl start' or through sysfs",
      });
    await this.claim(request, { device: `mdev ${uuid}`, isMoved: false, ...this.vfioNode(request, group) });
    this.openGroup(request, group);
  }

  /** The definition then names the place on the bus, and the driver opens that node. */
  private async takeUsb(request: TakeRequest, hostdev: Hostdev, index: number): Promise<Hostdev | undefined> {
    if (hostdev.source.type !== 'usb') return hostdev;
    const device = findUsb(listUsb(this.parts.files), hostdev.source, wantedOf(request), pathOf(index));
    if (device === undefined) {
      const { vendorId, productId } = hostdev.source;
      this.parts.log.warn(
        { domain: request.domainName, vendorId, productId },
        'an optional USB device is missing; starting without it',
      );
      return undefined;
    }
    await this.claim(request, { device: `usb ${device.name}`, isMoved: false });
    return { ...hostdev, source: { ...hostdev.source, address: { bus: device.bus, device: device.device } } };
  }

  /** Of an iSCSI target nothing is the host's: QEMU connects to it by itself. */
  private async takeScsi(request: TakeRequest, hostdev: Hostdev, index: number): Promise<void> {
    const { source, shareable, readonly } = hostdev;
    const place = source.type === 'scsi' ? scsiHostPlace(source) : undefined;
    if (place === undefined) return;
    const wish = { wanted: wantedOf(request), path: pathOf(index), isReadonly: readonly === true };
    const { node } = usableScsi(this.parts.files, place, wish);
    const { uid } = request;
    const rights = uid === undefined ? {} : { node, uid };
    const device = `scsi ${place}`;
    await this.claim(request, { device, isMoved: false, ...(shareable && { isShared: true }), ...rights });
    if (uid !== undefined) this.parts.nodes.grant(node, uid);
  }

  private async claim(
    request: TakeRequest,
    claim: Omit<Claim, 'version' | 'domainUuid' | 'domainName'>,
  ): Promise<void> {
    const { domainUuid, domainName } = request;
    await this.parts.claims.add({ version: 1, domainUuid, domainName, ...claim }, wantedOf(request));
  }

  private vfioNode({ uid }: TakeRequest, group: string): Pick<Claim, 'group' | 'node' | 'uid'> {
    return { group, ...(uid !== undefined && { node: `/dev/vfio/${group}`, uid }) };
  }

  private openGroup({ uid }: TakeRequest, group: string): void {
    if (uid !== undefined) this.parts.nodes.grant(`/dev/vfio/${group}`, uid);
  }
}

/** @throws VirtError host-device.unusable for a PCI device behind which the host has a file system mounted */
export function refuseMounted(files: HostFiles, address: string, wanted: string): void {
  const [mount] = mountsBehind(files, address);
  if (mount === undefined) return;
  throw new VirtError('host-device.unusable', {
    wanted,
    reason: `the host has a file system of PCI device ${address} mounted at ${mount}`,
    hint: 'unmount it first',
  });
}

function wantedOf({ domainName }: TakeRequest): string {
  return `start '${domainName}'`;
}

function pathOf(index: number): string {
  return `devices.hostdev[${index}].source`;
}

/** The PCI address of an interface of type hostdev. */
function functionOf({ source }: Interface): string | undefined {
  return source.type === 'hostdev' && source.address.type === 'pci' ? formatPci(source.address) : undefined;
}
