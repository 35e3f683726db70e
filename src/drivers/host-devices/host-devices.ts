/** Devices of the host for guests: found, claimed, moved to VFIO, opened to the guest's user; and all of that undone. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type HostFiles, hostFiles } from '../../kvm/host-files.ts';
import type { Hostdev } from '../../model/domain/devices/hostdev.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { scsiHostPlace } from '../../model/domain/host-scsi.ts';
import type { FunctionPool, HostDeviceProvider } from '../driver.ts';
import { type Claim, ClaimStore } from './claims.ts';
import { listUsb, type PciDevice, pciPath, readPci } from './list.ts';
import { grantNode, revokeNode } from './node-access.ts';
import {
  bindToVfio,
  isBridge,
  isVfioDriver,
  linksBehind,
  mountsBehind,
  type PciGrant,
  planPci,
  returnToHost,
  VFIO,
} from './pci.ts';
import { readScsiDevice, requireVhostTarget, usableScsi } from './scsi.ts';
import { kernelSysfs, type SysfsWriter } from './sysfs-writer.ts';
import { findUsb, returnUsb } from './usb.ts';
import { type FunctionLinks, freeFunctions, requireFunction, settingsFor } from './virtual-functions.ts';

type TakeRequest = Parameters<HostDeviceProvider['take']>[0];
type Releasable = Parameters<HostDeviceProvider['releaseOne']>[1];

interface HostDeviceParts {
  /** Claims lie here. */
  readonly directory: string;
  readonly log: Logger;
  readonly files?: HostFiles;
  readonly sysfs?: SysfsWriter;
  /** Left out where nobody may set up virtual functions. */
  readonly functions?: FunctionLinks;
  readonly nodes?: { grant(path: string, uid: number): void; revoke(path: string, uid: number): void };
}

export class HostDevices implements HostDeviceProvider {
  private readonly files: HostFiles;
  private readonly sysfs: SysfsWriter;
  private readonly nodes: NonNullable<HostDeviceParts['nodes']>;
  private readonly functions: FunctionLinks | undefined;
  private readonly claims: ClaimStore;
  private readonly log: Logger;
  /** Functions of networks that guests are about to take: the guest's uuid by PCI address. */
  private readonly reserved = new Map<string, string>();
  /** One guest at a time: groups are looked at and then changed. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(parts: HostDeviceParts) {
    this.files = parts.files ?? hostFiles();
    this.sysfs = parts.sysfs ?? kernelSysfs;
    this.nodes = parts.nodes ?? { grant: grantNode, revoke: revokeNode };
    this.functions = parts.functions;
    this.claims = new ClaimStore(parts);
    this.log = parts.log;
  }

  take(request: TakeRequest): Promise<DomainDef> {
    return this.inTurn(() => this.takeAll(request));
  }

  reserveFunction({
    domainUuid,
    pool,
    wanted,
  }: {
    readonly domainUuid: string;
    readonly pool: FunctionPool;
    readonly wanted: string;
  }): Promise<string> {
    return this.inTurn(() => {
      const claimed = new Set(this.claims.list().map(({ device }) => device));
      const isTaken = (address: string) => claimed.has(`pci ${address}`) || this.reserved.has(address);
      const [address = ''] = freeFunctions(this.files, pool, isTaken, wanted);
      this.reserved.set(address, domainUuid);
      return Promise.resolve(address);
    });
  }

  release(domainUuid: string): Promise<void> {
    for (const [address, uuid] of this.reserved) if (uuid === domainUuid) this.reserved.delete(address);
    return this.inTurn(() => this.releaseWhere((claim) => claim.domainUuid === domainUuid));
  }

  releaseOne(domainUuid: string, { source }: Releasable): Promise<void> {
    const device = this.nameOf(source);
    if (source.type === 'hostdev' && source.address.type === 'pci')
      this.reserved.delete(pciAddress(source.address));
    return this.inTurn(() =>
      this.releaseWhere((claim) => claim.domainUuid === domainUuid && claim.device === device),
    );
  }

  /** As claims name it; undefined for one that is not there any more. */
  private nameOf(source: Releasable['source']): string | undefined {
    switch (source.type) {
      case 'hostdev':
        return source.address.type === 'pci' ? `pci ${pciAddress(source.address)}` : undefined;
      case 'pci':
        return `pci ${pciAddress(source.address)}`;
      case 'mdev':
        return `mdev ${source.uuid}`;
      case 'usb': {
        const { address } = source;
        const found = listUsb(this.files).find(
          ({ bus, device }) => bus === address?.bus && device === address.device,
        );
        return found && `usb ${found.name}`;
      }
      case 'scsi': {
        const place = scsiHostPlace(source);
        return place && `scsi ${place}`;
      }
      case 'scsi_host':
        return `vhost-scsi ${source.wwpn}`;
      default:
        return undefined;
    }
  }

  scsiNode(place: string): string | undefined {
    return readScsiDevice(this.files, place)?.node;
  }

  releaseOthers(running: ReadonlySet<string>): Promise<void> {
    return this.inTurn(() => this.releaseWhere((claim) => !running.has(claim.domainUuid)));
  }

  holders(): ReadonlyMap<string, { readonly uuid: string; readonly name: string }> {
    const pairs = this.claims
      .list()
      .map(({ device, domainUuid, domainName }) => [device, { uuid: domainUuid, name: domainName }] as const);
    return new Map(pairs);
  }

  /**
   * Takes a PCI device from its driver, for a guest that is not to do it itself (<hostdev managed='no'>).
   * `driver`: a variant of vfio-pci, whose module is loaded; a device that has vfio-pci or a variant keeps it unless another
   * is named. @throws VirtError host-device.*, file.*
   */
  detach(address: string, driver?: string): Promise<void> {
    return this.inTurn(async () => {
      if (driver !== undefined && !isVfioDriver(driver))
        throw new VirtError('request.invalid', {
          wanted: `detach PCI device ${address}`,
          reason: `unknown driver name '${driver}': neither ${VFIO} nor a variant of it`,
        });
      const device = this.free(address, `detach PCI device ${address}`);
      if (driver === undefined ? isVfioDriver(device.driver) : device.driver === driver) return;
      if (isBridge(device))
        throw new VirtError('host-device.unusable', {
          wanted: `detach PCI device ${address}`,
          reason: 'it is a bridge, and the host needs what is behind it',
        });
      this.refuseMounted(address, `detach PCI device ${address}`);
      await bindToVfio(this.files, this.sysfs, address, driver);
      this.log.info({ address, from: device.driver, to: driver ?? VFIO }, 'moved a PCI device to VFIO');
    });
  }

  /** Gives a PCI device back to the driver that the kernel chooses. @throws VirtError host-device.*, file.* */
  reattach(address: string): Promise<void> {
    return this.inTurn(async () => {
      this.free(address, `reattach PCI device ${address}`);
      await returnToHost(this.files, this.sysfs, address);
    });
  }

  /**
   * Resets a PCI device that neither a guest nor a driver of the host has (sysfs-bus-pci, `reset`).
   * @throws VirtError host-device.*, file.*
   */
  reset(address: string): Promise<void> {
    return this.inTurn(async () => {
      const wanted = `reset PCI device ${address}`;
      const { driver } = this.free(address, wanted);
      if (driver !== undefined && !isVfioDriver(driver))
        throw new VirtError('host-device.unusable', {
          wanted,
          reason: `the host's driver ${driver} has it`,
          hint: 'detach it first',
        });
      const path = `${pciPath(address)}/reset`;
      if (!this.files.exists(path))
        throw new VirtError('host-device.unusable', {
          wanted,
          reason: 'the kernel knows no way to reset that device alone',
        });
      await this.sysfs.write(path, '1');
    });
  }

  /** @throws VirtError host-device.not-found, host-device.in-use */
  private free(address: string, wanted: string): PciDevice {
    const device = readPci(this.files, address);
    if (device === undefined)
      throw new VirtError('host-device.not-found', {
        wanted,
        reason: `the host has no PCI device ${address}`,
      });
    const holder = this.claims.list().find((claim) => claim.device === `pci ${address}`);
    if (holder === undefined) return device;
    throw new VirtError('host-device.in-use', {
      wanted,
      reason: `domain '${holder.domainName}' has it`,
      hint: `stop '${holder.domainName}' first`,
    });
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined); // Its caller hears of the failure.
    return done;
  }

  private async takeAll(request: TakeRequest): Promise<DomainDef> {
    const { definition } = request;
    // What the guest had before, when this is a device for one that runs, stays its own.
    const before = new Set(
      this.claims.list().flatMap((claim) => (isOf(claim, request) ? [claim.device] : [])),
    );
    try {
      const hostdevs: Hostdev[] = [];
      const grants = this.plan(request);
      for (const [index, hostdev] of definition.devices.hostdevs.entries()) {
        const kept = await this.takeOne(request, hostdev, index, grants);
        if (kept !== undefined) hostdevs.push(kept);
      }
      for (const [index, nic] of definition.devices.interfaces.entries())
        await this.takeFunction(request, nic, index, grants);
      return { ...definition, devices: { ...definition.devices, hostdevs } };
    } catch (error) {
      await this.releaseWhere((claim) => isOf(claim, request) && !before.has(claim.device));
      throw error;
    }
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
              address: pciAddress(hostdev.source.address),
              isManaged: hostdev.managed === true,
              driver: hostdev.driver?.model,
              path: pathOf(index),
            },
          ]
        : [],
    );
    const grants = planPci(this.files, wantedOf(request), [...functions, ...requests]);
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
        const grant = grants.get(pciAddress(source.address));
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
        requireVhostTarget(this.files, source.wwpn, wantedOf(request), pathOf(index));
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
    const { functions } = this;
    if (functions === undefined)
      throw new VirtError('host-device.unusable', {
        wanted: wantedOf(request),
        reason: `${path}: only the system daemon may set up virtual functions`,
      });
    const { link, number } = requireFunction(this.files, address, { wanted: wantedOf(request), path });
    const before = functions.settings(link, number);
    await this.takePci(request, grant, {
      note: { link, number, ...before },
      setUp: () => functions.set(link, number, settingsFor(nic, before)),
    });
    this.reserved.delete(address);
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
      await bindToVfio(this.files, this.sysfs, address, driver);
      this.log.info(
        { domain: request.domainName, address, from: takeFrom.driver, to: driver ?? VFIO },
        'moved a PCI device to VFIO',
      );
    }
    this.openGroup(request, group);
  }

  /** A disk that the host has mounted stays; a network card that is up may be what was meant. */
  private refuseOwnDisk(request: TakeRequest, address: string, isMoved: boolean): void {
    if (!isMoved) return;
    this.refuseMounted(address, wantedOf(request));
    for (const link of linksBehind(this.files, address))
      this.log.warn(
        { domain: request.domainName, address, link },
        'the host loses a network interface that is up',
      );
  }

  private refuseMounted(address: string, wanted: string): void {
    const [mount] = mountsBehind(this.files, address);
    if (mount === undefined) return;
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `the host has a file system of PCI device ${address} mounted at ${mount}`,
      hint: 'unmount it first',
    });
  }

  private async takeMdev(request: TakeRequest, uuid: string, index: number): Promise<void> {
    const link = this.files.link(`/sys/bus/mdev/devices/${uuid}/iommu_group`);
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
    const device = findUsb(listUsb(this.files), hostdev.source, wantedOf(request), pathOf(index));
    if (device === undefined) {
      const { vendorId, productId } = hostdev.source;
      this.log.warn(
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
    const { node } = usableScsi(this.files, place, wish);
    const { uid } = request;
    const rights = uid === undefined ? {} : { node, uid };
    const device = `scsi ${place}`;
    await this.claim(request, { device, isMoved: false, ...(shareable && { isShared: true }), ...rights });
    if (uid !== undefined) this.nodes.grant(node, uid);
  }

  private async claim(
    request: TakeRequest,
    claim: Omit<Claim, 'version' | 'domainUuid' | 'domainName'>,
  ): Promise<void> {
    const { domainUuid, domainName } = request;
    await this.claims.add({ version: 1, domainUuid, domainName, ...claim }, wantedOf(request));
  }

  private vfioNode({ uid }: TakeRequest, group: string): Pick<Claim, 'group' | 'node' | 'uid'> {
    return { group, ...(uid !== undefined && { node: `/dev/vfio/${group}`, uid }) };
  }

  private openGroup({ uid }: TakeRequest, group: string): void {
    if (uid !== undefined) this.nodes.grant(`/dev/vfio/${group}`, uid);
  }

  /** In a session nobody may; then plugging it in again does it. */
  private async returnUsb(name: string): Promise<void> {
    try {
      await returnUsb(this.files, this.sysfs, name);
    } catch (error) {
      if (!isVirtError(error, 'file.denied')) throw error;
      this.log.debug({ name, reason: error.reason }, 'a USB device was not offered to drivers again');
    }
  }

  /** Before the host's driver comes back, which reads the address then. */
  private restoreFunction({ function: note }: Claim): void {
    if (note === undefined) return;
    const { link, number, ...settings } = note;
    this.functions?.restore(link, number, settings);
  }

  /** Guests that run as one user by configuration have their rights together. */
  private revoke({ node, uid, domainUuid }: Claim): void {
    if (node === undefined || uid === undefined) return;
    const isNeeded = this.claims
      .list()
      .some((other) => other.domainUuid !== domainUuid && other.node === node && other.uid === uid);
    if (!isNeeded) this.nodes.revoke(node, uid);
  }

  /** Each is tried whatever becomes of the others; one that fails keeps its claim, so that it is tried again. */
  private async releaseWhere(which: (claim: Claim) => boolean): Promise<void> {
    for (const claim of this.claims.list().filter(which)) {
      try {
        this.revoke(claim);
        const [kind = '', name = ''] = claim.device.split(' ');
        this.restoreFunction(claim);
        if (kind === 'pci' && claim.isMoved) await returnToHost(this.files, this.sysfs, name);
        if (kind === 'usb') await this.returnUsb(name);
        await this.claims.remove(claim);
      } catch (error) {
        this.log.error(
          { domain: claim.domainName, device: claim.device, reason: reasonOf(error) },
          'a device could not be given back to the host',
        );
      }
    }
  }
}

function wantedOf({ domainName }: TakeRequest): string {
  return `start '${domainName}'`;
}

function pathOf(index: number): string {
  return `devices.hostdev[${index}].source`;
}

/** The PCI address of an interface of type hostdev. */
function functionOf({ source }: Interface): string | undefined {
  return source.type === 'hostdev' && source.address.type === 'pci' ? pciAddress(source.address) : undefined;
}

function pciAddress(address: {
  readonly domain: number;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return `${hex(address.domain, 4)}:${hex(address.bus, 2)}:${hex(address.slot, 2)}.${address.function}`;
}

const isOf = (claim: Claim, { domainUuid }: TakeRequest): boolean => claim.domainUuid === domainUuid;
