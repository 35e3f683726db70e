/** Devices of the host for guests: found, claimed, moved to VFIO, opened to the guest's user; and all of that undone. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type HostFiles, hostFiles } from '../../kvm/host-files.ts';
import { formatPci } from '../../model/domain/addresses/pci-map.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { scsiHostPlace } from '../../model/domain/host-scsi.ts';
import type { FunctionPool, HostDeviceProvider } from '../driver.ts';
import { type Claim, ClaimStore } from './claims.ts';
import { listUsb, type PciDevice, pciPath, readPci } from './list.ts';
import { grantNode, revokeNode } from './node-access.ts';
import { bindToVfio, isBridge, isVfioDriver, returnToHost, VFIO } from './pci.ts';
import { readScsiDevice } from './scsi.ts';
import { kernelSysfs, type SysfsWriter } from './sysfs-writer.ts';
import { DeviceTaking, refuseMounted, type TakeRequest } from './taking.ts';
import { returnUsb } from './usb.ts';
import { type FunctionLinks, freeFunctions } from './virtual-functions.ts';

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
  private readonly taking: DeviceTaking;
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
    this.taking = new DeviceTaking({
      ...{ files: this.files, sysfs: this.sysfs, nodes: this.nodes, functions: this.functions },
      ...{ claims: this.claims, log: this.log },
      onFunction: (address) => void this.reserved.delete(address),
    });
  }

  take(request: TakeRequest): Promise<DomainDef> {
    return this.inTurn(() => this.takeAll(request));
  }

  private async takeAll(request: TakeRequest): Promise<DomainDef> {
    const isIts = ({ domainUuid }: Claim) => domainUuid === request.domainUuid;
    // What the guest had before, when this is a device for one that runs, stays its own.
    const before = new Set(this.claims.list().flatMap((claim) => (isIts(claim) ? [claim.device] : [])));
    try {
      return await this.taking.take(request);
    } catch (error) {
      await this.releaseWhere((claim) => isIts(claim) && !before.has(claim.device));
      throw error;
    }
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
      this.reserved.delete(formatPci(source.address));
    return this.inTurn(() =>
      this.releaseWhere((claim) => claim.domainUuid === domainUuid && claim.device === device),
    );
  }

  /** As claims name it; undefined for one that is not there any more. */
  private nameOf(source: Releasable['source']): string | undefined {
    switch (source.type) {
      case 'hostdev':
        return source.address.type === 'pci' ? `pci ${formatPci(source.address)}` : undefined;
      case 'pci':
        return `pci ${formatPci(source.address)}`;
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
      refuseMounted(this.files, address, `detach PCI device ${address}`);
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
