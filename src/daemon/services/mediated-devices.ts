/** Mediated devices made, ended and stored: parts of a graphics or other card that guests can have. */
import { randomUUID } from 'node:crypto';
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { endMdev, type MdevHost, makeMdev } from '../../drivers/host-devices/mediated-devices.ts';
import type { MdevDefinition } from '../../model/node-device/mdev-definition.ts';
import type { NodeDevice } from '../../model/node-device/node-device.ts';
import { AutostartMarker } from '../state/autostart-marker.ts';
import type { MdevDefinitions, StoredMdev } from '../state/mdev-definitions.ts';

export interface MediatedDevicesOptions {
  /** In a session devices are only looked at. */
  readonly mode: 'system' | 'session';
  readonly host: MdevHost;
  readonly stored: MdevDefinitions;
  /** The devices of the host that are there now. */
  readonly present: () => readonly NodeDevice[];
  /** Tells what was started in this life of the host, so that a new daemon starts nothing again. */
  readonly autostartMarker: string;
  readonly log: Logger;
}

export class MediatedDevices {
  private readonly options: MediatedDevicesOptions;

  constructor(options: MediatedDevicesOptions) {
    this.options = options;
  }

  /** The stored definition of a device; undefined for one that has none. */
  storedOf({ capability }: NodeDevice): StoredMdev | undefined {
    if (capability.type !== 'mdev') return undefined;
    const { uuid, parentAddress } = capability;
    return this.options.stored.list().find((one) => one.uuid === uuid && one.parentAddress === parentAddress);
  }

  /** Devices that are stored and not there. */
  inactive(present: readonly NodeDevice[]): NodeDevice[] {
    const there = new Set(
      present.flatMap(({ capability }) => (capability.type === 'mdev' ? [capability.uuid] : [])),
    );
    return this.options.stored
      .list()
      .filter(({ uuid }) => !there.has(uuid))
      .map((one) => inactiveDevice(one, present));
  }

  /** Makes one at once; it is gone with the next start of the host. Its uuid. @throws VirtError definition.unsupported, host-device.*, file.* */
  create(definition: MdevDefinition): string {
    this.requireSystem('make');
    const { uuid = randomUUID(), typeId, attributes } = definition;
    const parentPath = this.parentOf(definition.parent).path;
    makeMdev(this.options.host, { uuid, parentPath, typeId, attributes });
    return uuid;
  }

  /** Stores one, in place of the one of its uuid and parent, whose autostart stays. Its uuid. @throws VirtError definition.unsupported, host-device.*, file.* */
  async define(definition: MdevDefinition): Promise<string> {
    this.requireSystem('define');
    const { uuid = randomUUID(), typeId, attributes } = definition;
    const { address } = this.parentOf(definition.parent);
    const before = this.options.stored.list().find((one) => one.uuid === uuid);
    if (before !== undefined && before.parentAddress !== address)
      throw new VirtError('host-device.unusable', {
        wanted: `define mediated device ${uuid}`,
        reason: `it is defined on ${before.parentAddress} already`,
      });
    const autostart = before?.autostart ?? false;
    await this.options.stored.save({ uuid, parentAddress: address, typeId, attributes, autostart });
    return uuid;
  }

  /** Makes one that is stored. @throws VirtError host-device.*, file.* */
  start({ uuid, parentAddress, typeId, attributes }: StoredMdev): void {
    this.requireSystem('start');
    const parent = this.options
      .present()
      .find(({ path }) => path !== undefined && addressOf(path) === parentAddress);
    if (parent?.path === undefined)
      throw new VirtError('host-device.not-found', {
        wanted: `start mediated device ${uuid}`,
        reason: `the host has no device ${parentAddress}`,
      });
    makeMdev(this.options.host, { uuid, parentPath: parent.path, typeId, attributes });
  }

  /** Ends one; what is stored of it stays. @throws VirtError host-device.in-use, file.* */
  end({ capability }: NodeDevice): void {
    this.requireSystem('end');
    if (capability.type === 'mdev') endMdev(this.options.host, capability.uuid, capability.iommuGroup);
  }

  async undefine(stored: StoredMdev): Promise<void> {
    this.requireSystem('undefine');
    await this.options.stored.remove(stored);
  }

  async setAutostart(stored: StoredMdev, autostart: boolean): Promise<void> {
    this.requireSystem('change');
    if (stored.autostart !== autostart) await this.options.stored.save({ ...stored, autostart });
  }

  /** Starts, once in a life of the host, those that are marked for it. One that fails is told in the log. */
  autostart(): void {
    const { stored, log, autostartMarker } = this.options;
    if (this.options.mode !== 'system') return;
    const wanted = stored.list().filter(({ autostart }) => autostart);
    if (wanted.length === 0) return;
    const marker = new AutostartMarker(autostartMarker);
    const waiting = new Set(this.inactive(this.options.present()).map(({ name }) => name));
    for (const one of wanted) {
      if (marker.has(one.uuid)) continue;
      marker.note(one.uuid);
      if (!waiting.has(nameOf(one))) continue;
      try {
        this.start(one);
      } catch (error) {
        log.warn({ uuid: one.uuid, reason: reasonOf(error) }, 'a mediated device could not be started');
      }
    }
  }

  private requireSystem(verb: string): void {
    if (this.options.mode === 'system') return;
    throw new VirtError('request.unsupported', {
      wanted: `${verb} a mediated device`,
      reason: 'it needs the system connection (qemu:///system)',
    });
  }

  private parentOf(name: string): { readonly path: string; readonly address: string } {
    const found = this.options.present().find((device) => device.name === name);
    if (found?.path !== undefined) return { path: found.path, address: addressOf(found.path) };
    throw new VirtError('definition.unsupported', {
      wanted: 'make a mediated device',
      reason: `invalid parent device '${name}'`,
      hint: "'vireo host node-devices' lists those it has",
    });
  }
}

const addressOf = (path: string): string => path.split('/').at(-1) ?? '';

/** As libvirt names it, and as it is named when it is there. */
const nameOf = ({ uuid, parentAddress }: StoredMdev): string =>
  `mdev_${uuid}_${parentAddress}`.replaceAll(/[^A-Za-z0-9]/g, '_');

function inactiveDevice(stored: StoredMdev, present: readonly NodeDevice[]): NodeDevice {
  const { uuid, parentAddress, typeId, attributes } = stored;
  const parent = present.find(({ path }) => path !== undefined && addressOf(path) === parentAddress);
  return {
    name: nameOf(stored),
    ...(parent && { parent: parent.name }),
    devlinks: [],
    isInactive: true,
    capability: { type: 'mdev', uuid, parentAddress, typeId, attributes },
  };
}
