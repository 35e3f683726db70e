/** Devices of the host as libvirt names them: listed from sysfs when asked for, watched for changes, moved for guests. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { UeventSource } from '../../base/uevents.ts';
import type { HostDevices } from '../../drivers/host-devices/host-devices.ts';
import {
  listBareDevices,
  listNodeDevices,
  type NodeDeviceHost,
  nodeDeviceSubsystems,
} from '../../drivers/host-devices/node-devices/list.ts';
import { formatNodeDevice } from '../../model/node-device/format.ts';
import {
  capabilityTypesOf,
  type NodeCapabilityType,
  type NodeDevice,
} from '../../model/node-device/node-device.ts';
import type { EventBus } from './events.ts';
import type { MediatedDevices } from './mediated-devices.ts';

/** How often uevents are looked for, in milliseconds: one system call that finds nothing, most times. */
const LOOK_EVERY_MS = 1000;

export interface NodeDeviceServiceOptions {
  readonly host: NodeDeviceHost;
  readonly devices: Pick<HostDevices, 'detach' | 'reattach' | 'reset'>;
  readonly mediated: MediatedDevices;
  /** In a session devices are only looked at. */
  readonly mode: 'system' | 'session';
  readonly events: EventBus;
  readonly log: Logger;
  readonly uevents: () => UeventSource;
  readonly lookEveryMs?: number;
}

export class NodeDeviceService {
  private readonly options: NodeDeviceServiceOptions;
  /** What was there at the last look, by name; undefined before the first. */
  private known: Map<string, string> | undefined;
  private source: UeventSource | undefined;
  private timer: NodeJS.Timeout | undefined;
  private hasAudience = true;

  constructor(options: NodeDeviceServiceOptions) {
    this.options = options;
  }

  /** Mediated devices: those that are stored, and making and ending them. */
  get mediated(): MediatedDevices {
    return this.options.mediated;
  }

  /** The devices that are any of these, or all; those that are stored and not there come last. */
  list(capabilities: readonly NodeCapabilityType[] = []): NodeDevice[] {
    const present = listNodeDevices(this.options.host);
    const all = [...present, ...this.options.mediated.inactive(present)];
    if (capabilities.length === 0) return all;
    return all.filter((device) => capabilityTypesOf(device).some((type) => capabilities.includes(type)));
  }

  /** @throws VirtError node-device.not-found */
  find(name: string): NodeDevice {
    const found = this.list().find((device) => device.name === name);
    if (found !== undefined) return found;
    throw new VirtError('node-device.not-found', {
      reason: `the host has no node device '${name}'`,
      hint: "'vireo host node-devices' lists those it has",
    });
  }

  /** libvirt's node device XML. */
  xml(device: NodeDevice): string {
    return formatNodeDevice(device);
  }

  /** Takes a PCI device from its driver for a guest. @throws VirtError node-device.not-found, host-device.*, request.unsupported */
  async detach(name: string, driver?: string): Promise<void> {
    await this.options.devices.detach(this.pciAddress(name, 'detach'), driver);
  }

  /** Gives it back. @throws VirtError as detach */
  async reattach(name: string): Promise<void> {
    await this.options.devices.reattach(this.pciAddress(name, 'reattach'));
  }

  /** Resets it. @throws VirtError as detach */
  async reset(name: string): Promise<void> {
    await this.options.devices.reset(this.pciAddress(name, 'reset'));
  }

  private pciAddress(name: string, verb: string): string {
    const wanted = `${verb} node device '${name}'`;
    if (this.options.mode === 'session')
      throw new VirtError('request.unsupported', {
        wanted,
        reason: 'moving devices between drivers needs the system connection (qemu:///system)',
      });
    const { path, capability } = this.find(name);
    if (capability.type === 'pci') return path?.split('/').at(-1) ?? '';
    throw new VirtError('request.invalid', { wanted, reason: `device ${name} is not a PCI device` });
  }

  /** Tells events of what comes, goes and changes from now on. A host that tells nothing is no failure. */
  start(): void {
    this.options.mediated.autostart();
    try {
      this.source = this.options.uevents();
    } catch (error) {
      this.options.log.warn({ reason: reasonOf(error) }, 'devices that come and go will not be noticed');
      return;
    }
    if (this.hasAudience) this.beginLooking();
  }

  /** Whether anybody is there to be told. While nobody is, the daemon does not wake up to look. */
  setAudience(isThere: boolean): void {
    if (isThere === this.hasAudience) return;
    this.hasAudience = isThere;
    clearInterval(this.timer);
    if (!isThere || this.source === undefined) return;
    this.catchUp();
    this.beginLooking();
  }

  private beginLooking(): void {
    const every = this.options.lookEveryMs ?? LOOK_EVERY_MS;
    this.timer = setInterval(() => this.look(), every).unref();
  }

  /** What happened before anybody was there is told to nobody. */
  private catchUp(): void {
    try {
      if (this.known !== undefined && this.hasHeardOfDevices()) this.known = this.snapshot();
    } catch (error) {
      this.options.log.error({ err: error }, 'the devices of the host could not be read');
    }
  }

  /** True when there were uevents of devices that we know, or may have been. */
  private hasHeardOfDevices(): boolean {
    const uevents = this.source?.take();
    return uevents === undefined || uevents.some(({ subsystem }) => nodeDeviceSubsystems.has(subsystem));
  }

  stop(): void {
    clearInterval(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  /** Reads uevents, and compares the host with what it was only when there were some. */
  private look(): void {
    try {
      const isMeant = this.hasHeardOfDevices();
      if (this.known === undefined) this.known = this.snapshot();
      else if (isMeant) this.compare(this.known);
    } catch (error) {
      this.options.log.error({ err: error }, 'the devices of the host could not be compared');
    }
  }

  private snapshot(): Map<string, string> {
    const devices = listBareDevices(this.options.host.files);
    // Speed and state of links change all the time, and other events tell of that.
    return new Map(
      devices.map((device) => [device.name, JSON.stringify({ ...device, ...withoutLink(device) })]),
    );
  }

  private compare(before: ReadonlyMap<string, string>): void {
    const { events } = this.options;
    const now = this.snapshot();
    this.known = now;
    for (const name of before.keys())
      if (!now.has(name)) events.publish({ event: 'node-device.removed', device: { name } });
    for (const [name, text] of now) {
      const old = before.get(name);
      if (old === undefined) events.publish({ event: 'node-device.added', device: { name } });
      else if (old !== text) events.publish({ event: 'node-device.changed', device: { name } });
    }
  }
}

function withoutLink({ capability }: NodeDevice): Partial<NodeDevice> {
  return capability.type === 'net' ? { capability: { ...capability, link: { state: '' } } } : {};
}
