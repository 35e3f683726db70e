/** Which devices QEMU has by the names that it was given: what is not there any more has gone, whether it was told or not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { aliasOfDevice, allDevices, type OneDevice } from '../../../model/domain/device-list.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { QemuGuest } from '../guest.ts';
import type { QmpClient } from '../qmp/client.ts';

/** Aliases of all devices that were given one (QOM, /machine/peripheral). */
export async function peripherals(qmp: Pick<QmpClient, 'executeRaw'>): Promise<Set<string>> {
  const found = await qmp.executeRaw('qom-list', { path: '/machine/peripheral' });
  if (!Array.isArray(found)) return new Set();
  return new Set(
    found.flatMap((entry: { readonly name?: unknown }) =>
      typeof entry.name === 'string' ? [entry.name] : [],
    ),
  );
}

/** How often a device is looked for, and for how long at most, in milliseconds. */
const LOOK_MS = 500;
const LONGEST_MS = 10 * 60_000;

/**
 * True for what goes without a word: QEMU sends DEVICE_DELETED when it frees a device (hw/core/qdev.c, device_finalize),
 * and never frees an xHCI, which holds on to itself. Seen with QEMU 7.2.
 */
export function goesSilently({ family, device }: OneDevice): boolean {
  return family === 'controllers' && (device as Devices['controllers'][number]).type === 'usb';
}

/**
 * Looks for a device that goes without a word until it is gone, and tells that then, unless QEMU has done so. Ends with
 * the guest, or after some minutes. Never rejects.
 */
export async function watchForEnd(
  guest: Pick<QemuGuest, 'definition' | 'monitorClient' | 'deviceGone'>,
  alias: string,
): Promise<void> {
  const end = performance.now() + LONGEST_MS;
  try {
    while (performance.now() < end) {
      await sleep(LOOK_MS, undefined, { ref: false });
      const isThere = (await peripherals(guest.monitorClient())).has(alias);
      const isKnown = allDevices(guest.definition.devices).some((one) => aliasOfDevice(one) === alias);
      if (isThere && isKnown) continue;
      if (isKnown) await guest.deviceGone(alias);
      return;
    }
  } catch {
    // The guest has ended, or its monitor has: whoever attaches to it again compares all devices.
  }
}
