/** Devices of domains: plugged in, taken out and changed, in the running guest, in the stored definition, or in both. */
import { VirtError } from '../../base/errors.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import {
  addDevice,
  aliasOfDevice,
  type Device,
  type OneDevice,
  parseDevice,
  removeDevice,
  replaceDevice,
  withDevices,
} from '../../model/domain/device-list.ts';
import { findByWord, findLike, findToUpdate } from '../../model/domain/device-match.ts';
import { refuseTaken } from '../../model/domain/device-taken.ts';
import type { Devices } from '../../model/domain/devices/devices.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { buildInterface } from '../../model/domain/profile/devices.ts';
import { buildNextDisk } from '../../model/domain/profile/disks.ts';
import type { SpecDisk, SpecNetwork } from '../../model/domain/profile.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import { forwardsOfCard } from './domain-controls.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { runChange } from './late-changes.ts';
import { followReceiveFilter } from './receive-filters.ts';
import { chooseTargets, type Targets } from './targets.ts';
import { refuseForwardedPorts } from './user-forwards.ts';
import type { DomainWorld } from './world.ts';

/** How a device is given: its XML, or what was made of a short description. */
export type DeviceWish = { readonly xml: string; readonly mode: ParseMode } | { readonly device: OneDevice };

/** How a device is named: like this XML, or by alias, target, MAC address or host device. */
export type DeviceName = { readonly xml: string; readonly mode: ParseMode } | { readonly word: string };

/** A medium for a drive. */
export interface MediumWish {
  /** Null: none, the drive is emptied. */
  readonly source: Disk['source'] | null;
  readonly format?: NonNullable<Disk['driver']>['type'] | undefined;
  /** Opens a tray that the guest has locked. */
  readonly force: boolean;
}

export class DomainDevices {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /**
   * Adds a device. The answer is its alias in the running guest, undefined when only the definition was meant.
   * @throws VirtError xml.*, definition.unsupported, domain.device-exists, domain.inactive, domain.transient, file.*,
   * link.failed, network.*, host-device.*, qmp.*
   */
  async attach(domain: Domain, wish: DeviceWish, targets: Targets): Promise<string | undefined> {
    return runChange(this.world, domain, 'attach device', async () => {
      const chosen = chooseTargets(domain, 'attach a device to', targets);
      let given = 'device' in wish ? wish.device : parseDevice(wish.xml, wish);
      // All is checked before anything is done.
      const stored = chosen.stored ? await this.storedWith(domain, given) : undefined;
      if (chosen.live) refuseTaken(this.definitions.definition(domain), given, 'live');
      if (stored !== undefined) given = withMacOf(given, stored);
      return changeAndStore(domain, { world: this.world, definitions: this.definitions, stored }, async () =>
        chosen.live ? this.attachLive(domain, given) : undefined,
      );
    });
  }

  /** A disk under the next free name. Errors as attach. */
  attachDisk(domain: Domain, disk: SpecDisk, targets: Targets): Promise<string | undefined> {
    const isStored = targets.live !== true && domain.isPersistent;
    const { disks } = this.definitions.definition(domain, { inactive: isStored }).devices;
    const running = domain.live?.guest.definition.devices.disks ?? [];
    const taken = [...disks, ...running].map(({ target }) => target.dev);
    const device = { family: 'disks', element: 'disk', device: buildNextDisk(disk, taken) } as const;
    return this.attach(domain, { device }, targets);
  }

  /** A network card. Errors as attach. */
  attachCard(domain: Domain, network: SpecNetwork, targets: Targets): Promise<string | undefined> {
    const card = buildInterface(network, { hostArch: '', uid: process.getuid?.() ?? 0 });
    return this.attach(
      domain,
      { device: { family: 'interfaces', element: 'interface', device: card } },
      targets,
    );
  }

  private async storedWith(domain: Domain, given: OneDevice): Promise<DomainDef> {
    const before = this.definitions.definition(domain, { inactive: true });
    refuseTaken(before, given, 'stored');
    return this.checked(addDevice(withDevices(before, withScsi(before.devices, given)), given));
  }

  private async checked(definition: DomainDef): Promise<DomainDef> {
    const complete = await this.world.driver.complete(definition, definition);
    await this.world.driver.check(complete);
    return complete;
  }

  private async attachLive(domain: Domain, given: OneDevice): Promise<string> {
    const { guest } = domain.requireLive('attach a device to');
    if (given.family === 'interfaces')
      refuseForwardedPorts(this.world, domain, forwardsOfCard(given.device as Interface, 'new'));
    const save = () => saveStatus(this.world, domain);
    try {
      const alias = await this.world.driver.attachDevice(guest, given, { save });
      this.world.events.emit('domain.device-added', domain.identity, { alias });
      if (given.family === 'interfaces') void followReceiveFilter(this.world, domain, guest, alias);
      return alias;
    } catch (error) {
      // Nothing is being plugged in any more; controllers that were added on the way stay.
      await save();
      throw error;
    }
  }

  /**
   * Takes a device away. False: the guest was asked and has not let go of it in time; when it does, it is gone and
   * `domain.device-removed` is told.
   * @throws VirtError domain.no-device, definition.unsupported, domain.state, operation.failed when the guest refuses, qmp.*
   */
  async detach(domain: Domain, name: DeviceName, targets: Targets): Promise<boolean> {
    return runChange(this.world, domain, 'detach device', async () => {
      const chosen = chooseTargets(domain, 'detach a device from', targets);
      const live = chosen.live ? find(this.definitions.definition(domain), name) : undefined;
      if (live?.family === 'disks')
        refuseBlockJobs(domain, 'detach a disk from', (live.device as Disk).target.dev);
      const stored = chosen.stored ? await this.storedWithout(domain, name, live) : undefined;
      return changeAndStore(
        domain,
        { world: this.world, definitions: this.definitions, stored },
        async () => {
          if (live === undefined) return true;
          const { guest } = domain.requireLive('detach a device from');
          const outcome = await this.world.driver.detachDevice(guest, live);
          await saveStatus(this.world, domain);
          return outcome === 'removed';
        },
      );
    });
  }

  private async storedWithout(
    domain: Domain,
    name: DeviceName,
    live: OneDevice | undefined,
  ): Promise<DomainDef> {
    const definition = this.definitions.definition(domain, { inactive: true });
    const one = this.findStored(domain, definition, name, live);
    return this.checked(removeDevice(definition, one));
  }

  /** Aliases and host devices are the running guest's: what they name is looked for by what it is. */
  private findStored(
    domain: Domain,
    definition: DomainDef,
    name: DeviceName,
    live: OneDevice | undefined,
  ): OneDevice {
    if ('xml' in name) return find(definition, name);
    try {
      return findByWord(definition, name.word);
    } catch (error) {
      const known = live ?? (domain.live && findByWord(domain.live.guest.definition, name.word));
      if (known === undefined) throw error;
      return findLike(definition, withoutRun(known));
    }
  }

  /**
   * Changes a device to what the XML says.
   * @throws VirtError domain.no-device, definition.unsupported naming what cannot change, domain.state, xml.*, qmp.*
   */
  async update(
    domain: Domain,
    wish: DeviceWish,
    options: Targets & { readonly force?: boolean | undefined },
  ): Promise<void> {
    await runChange(this.world, domain, 'update device', async () => {
      const chosen = chooseTargets(domain, 'update a device of', options);
      const given = 'device' in wish ? wish.device : parseDevice(wish.xml, wish);
      const stored = chosen.stored ? await this.storedUpdated(domain, given) : undefined;
      await changeAndStore(domain, { world: this.world, definitions: this.definitions, stored }, async () => {
        if (chosen.live) await this.updateLive(domain, given, options.force ?? false);
      });
    });
  }

  private async storedUpdated(domain: Domain, given: OneDevice): Promise<DomainDef> {
    const definition = this.definitions.definition(domain, { inactive: true });
    const old = findToUpdate(definition, withoutRun(given));
    const device = keepPlace(withoutRun(given).device, old.device);
    return this.checked(withDevices(definition, replaceDevice(definition.devices, old, device)));
  }

  private async updateLive(domain: Domain, given: OneDevice, force: boolean): Promise<void> {
    const { guest } = domain.requireLive('update a device of');
    const old = findToUpdate(guest.definition, given);
    try {
      await this.world.driver.updateDevice(guest, { old, device: given.device, force });
    } finally {
      await saveStatus(this.world, domain);
    }
  }

  /**
   * Puts a medium into a CD-ROM or floppy drive, or takes it out.
   * @throws VirtError domain.no-device, request.invalid for what is no drive, domain.state when the tray is locked, file.*
   */
  async changeMedia(domain: Domain, target: string, wish: MediumWish, targets: Targets): Promise<void> {
    const drive = findByWord(this.definitions.definition(domain), target);
    const disk = drive.device as Disk;
    if (drive.family !== 'disks' || (disk.device !== 'cdrom' && disk.device !== 'floppy'))
      throw new VirtError('request.invalid', {
        wanted: `change the medium in '${target}' of domain '${domain.name}'`,
        reason: 'it is no CD-ROM or floppy drive',
      });
    const { backingStore: _below, ...rest } = withoutRun(drive).device as Disk;
    const device: Disk = {
      ...rest,
      source: wish.source ?? { type: 'file', slices: [], seclabels: [] },
      driver: driverOf(disk, wish),
      target: { ...disk.target, tray: undefined },
    };
    await this.update(domain, { device: { ...drive, device } }, { ...targets, force: wish.force });
  }
}

/** A pool knows the format of its volumes; any other medium that says none is raw. */
function driverOf({ driver }: Disk, { source, format }: MediumWish): NonNullable<Disk['driver']> {
  const { type: _type, ...rest } = { ...driver, name: 'qemu' };
  const type = format ?? (source?.type === 'volume' ? undefined : 'raw');
  return { ...rest, ...(type !== undefined && { type }) };
}

function find(definition: DomainDef, name: DeviceName): OneDevice {
  if ('word' in name) return findByWord(definition, name.word);
  return findLike(definition, parseDevice(name.xml, name));
}

/** The device in the stored definition has a MAC address now; in the running guest it has the same. */
function withMacOf(given: OneDevice, stored: DomainDef): OneDevice {
  if (given.family !== 'interfaces') return given;
  const mac = stored.devices.interfaces.at(-1)?.mac;
  return { ...given, device: { ...(given.device as Interface), ...(mac && { mac }) } };
}

/** Without the names of a run. */
function withoutRun(one: OneDevice): OneDevice {
  const alias = aliasOfDevice(one);
  if (alias === undefined || alias.startsWith('ua-')) return one;
  const { alias: _alias, ...device } = one.device as Device & { readonly alias?: string };
  if (one.family !== 'interfaces') return { ...one, device };
  const { target, ...nic } = device as Interface;
  const isGenerated = target === undefined || /^(vnet|macvtap)\d+$/.test(target.dev);
  return { ...one, device: isGenerated ? nic : { ...nic, target } };
}

/** Where the new description leaves open where the device sits, it stays there; on another bus it gets a new place. */
function keepPlace(device: Device, old: Device): Device {
  if (!('address' in old) || ('address' in device && device.address !== undefined)) return device;
  if (busOf(device) !== busOf(old)) return device;
  return { ...device, address: old.address } as Device;
}

function busOf(device: Device): unknown {
  const { target, bus } = device as { readonly target?: { readonly bus?: string }; readonly bus?: string };
  return target?.bus ?? bus;
}

/** Without a model of its own a SCSI controller would be an emulated LSI card, which knows no plugging. */
function withScsi(devices: Devices, { family, device }: OneDevice): Devices {
  const isScsi = family === 'disks' && (device as Disk).target.bus === 'scsi';
  if (!isScsi || devices.controllers.some(({ type }) => type === 'scsi')) return devices;
  const controller = { type: 'scsi', index: 0, model: 'virtio-scsi' } as const;
  return { ...devices, controllers: [...devices.controllers, controller] };
}
