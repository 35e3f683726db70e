/** Devices that QEMU lets go of without saying so. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../../src/base/errors.ts';
import { detachDevice } from '../../../../src/drivers/qemu/hotplug/detach.ts';
import { Unplugs } from '../../../../src/drivers/qemu/hotplug/unplugs.ts';
import { completeAliases } from '../../../../src/model/domain/aliases.ts';
import { allDevices, type OneDevice, removeDevice } from '../../../../src/model/domain/device-list.ts';
import { parseDomain } from '../../../../src/model/domain/domain.ts';

const text = `<domain type='qemu'><name>d</name><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><controller type='usb' index='0' model='qemu-xhci'/><rng model='virtio'><backend model='builtin'/></rng></devices></domain>`;

/** A guest whose QEMU has these devices; it lets go of one when it is asked, and says nothing. */
function guestWith(present: string[]) {
  const told: string[] = [];
  const unplugs = new Unplugs({ error: () => undefined } as never);
  const guest = {
    definition: completeAliases(parseDomain(text, { mode: 'strict' }).definition),
    unplugs,
    monitorClient: () => ({
      execute: async (_command: string, { id }: { readonly id: string }) => {
        if (!present.includes(id))
          throw new VirtError('qmp.failed', {
            reason: `Device '${id}' not found`,
            details: { class: 'DeviceNotFound' },
          });
        present.splice(present.indexOf(id), 1);
      },
      executeRaw: async () => present.map((name) => ({ name })),
    }),
    deviceGone: async (alias: string) => {
      told.push(alias);
      guest.definition = removeDevice(guest.definition, deviceOf(alias));
      unplugs.settle(alias, 'removed');
    },
  };
  const deviceOf = (alias: string): OneDevice => {
    const found = allDevices(guest.definition.devices).find(
      ({ device }) => (device as { readonly alias?: string }).alias === alias,
    );
    if (found === undefined) throw new Error(`no ${alias}`);
    return found;
  };
  const detach = (alias: string, unplugMs = 20_000) =>
    detachDevice({ options: { timeouts: { unplugMs } } } as never, guest as never, deviceOf(alias));
  return { detach, told, guest };
}

describe('a device of which QEMU says nothing any more', () => {
  it('is looked for when it is a USB controller, and told to be gone', async () => {
    const { detach, told } = guestWith(['usb', 'rng0']);
    expect(await detach('usb')).toBe('removed');
    expect(told).toEqual(['usb']);
  });

  it('is gone when QEMU does not know it, whatever it is', async () => {
    const { detach, told } = guestWith(['usb']);
    expect(await detach('rng0')).toBe('removed');
    expect(told).toEqual(['rng0']);
  });

  it('is waited for otherwise, as long as that takes', async () => {
    const { detach, told } = guestWith(['usb', 'rng0']);
    expect(await detach('rng0', 700)).toBe('pending');
    expect(told).toEqual([]);
  });
});
