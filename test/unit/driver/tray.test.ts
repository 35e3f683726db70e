/** A medium goes in and out though the guest closes the tray: of QEMU, what it answers then. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { swapMedium } from '../../../src/drivers/qemu/hotplug/tray.ts';

/** A drive whose guest closes the tray that many times after it was opened. */
function drive(closings: number) {
  const done: string[] = [];
  let open = false;
  let left = closings;
  const fail = (reason: string): never => {
    throw new VirtError('qmp.failed', { wanted: 'run a command', reason });
  };
  const executeRaw = async (command: string): Promise<unknown> => {
    await Promise.resolve();
    if (command === 'blockdev-open-tray') open = left-- <= 0;
    else if (command === 'blockdev-close-tray') open = false;
    else if (!open) fail('Tray of the device is not open');
    done.push(command);
    return {};
  };
  return { done, executeRaw, fail };
}

const swap = { id: 'sata0-0-0', node: 'libvirt-2-format', force: false, domain: 'one' };

describe('a medium', () => {
  it('goes in though the guest closes the tray before it', async () => {
    const { done, executeRaw } = drive(3);
    await swapMedium({ executeRaw }, swap);
    expect(done.filter((command) => command !== 'blockdev-open-tray')).toEqual([
      'blockdev-remove-medium',
      'blockdev-insert-medium',
      'blockdev-close-tray',
    ]);
    expect(done.filter((command) => command === 'blockdev-open-tray')).toHaveLength(5);
  });

  it('stays out when the guest closes the tray every time, which is told', async () => {
    const { done, executeRaw } = drive(1000);
    await expect(swapMedium({ executeRaw }, { ...swap, node: undefined })).rejects.toMatchObject({
      code: 'domain.state',
      message: expect.stringContaining('closes the tray whenever it is opened') as unknown,
    });
    expect(new Set(done)).toEqual(new Set(['blockdev-open-tray']));
  });

  it('is kept by a tray that the guest has locked, and other failures stay what they are', async () => {
    const { fail } = drive(0);
    const locked = async () => fail("Device 'x' is locked and force was not specified");
    await expect(swapMedium({ executeRaw: locked }, swap)).rejects.toMatchObject({
      code: 'domain.state',
      message: expect.stringContaining('locked the tray') as unknown,
    });
    const broken = async () => fail('No such device');
    await expect(swapMedium({ executeRaw: broken }, swap)).rejects.toMatchObject({ code: 'qmp.failed' });
  });
});
