/** Devices that come, go and change while their guest runs. */
import type { Device, OneDevice } from '../../model/domain/device-list.ts';
import type { LiveGuest } from './live-guest.ts';

/** What a driver does to the devices of running guests. */
export interface DevicePlugging {
  /** Why such a device cannot come and go while a guest runs; undefined when it can. */
  whyNotPluggable(device: OneDevice): string | undefined;
  /**
   * Plugs a device into a running guest, with the controllers it needs: the running definition then has it. `save`
   * writes the guest's status when the intent is noted. The answer is its alias.
   * @throws VirtError definition.unsupported, xml.invalid, file.*, network.*, link.failed, host-device.*, qmp.*
   */
  attachDevice(
    guest: LiveGuest,
    device: OneDevice,
    options: { readonly save: () => Promise<void> },
  ): Promise<string>;
  /**
   * Asks the guest to let go of a device of its running definition. `pending`: it has not within the configured time;
   * when it does, the device is removed, and the event told, all the same.
   * @throws VirtError definition.unsupported, domain.state, operation.failed when the guest refuses, qmp.*
   */
  detachDevice(guest: LiveGuest, device: OneDevice): Promise<'removed' | 'pending'>;
  /**
   * Changes a device of a running guest to what `device` says: medium, link, network, password.
   * @throws VirtError definition.unsupported naming what cannot change, domain.state when the guest locked the tray, qmp.*
   */
  updateDevice(
    guest: LiveGuest,
    change: { readonly old: OneDevice; readonly device: Device; readonly force: boolean },
  ): Promise<void>;
}
