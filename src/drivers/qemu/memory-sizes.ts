/** How much of virtio-mem devices a guest has taken, asked of QEMU: after a restore, and after a daemon that heard no events. */
import type { QemuGuest } from './guest.ts';
import { withMemorySize } from './live-definition.ts';
import type { QmpClient } from './qmp/client.ts';

/** Brings the running definition in line with QEMU. @throws VirtError qmp.* */
export async function readMemorySizes(guest: QemuGuest, monitor: QmpClient): Promise<void> {
  const devices = guest.definition.devices.memories.filter(({ model }) => model === 'virtio-mem');
  for (const { alias = '' } of devices) {
    const bytes = await monitor.execute('qom-get', {
      path: `/machine/peripheral/${alias}`,
      property: 'size',
    });
    if (typeof bytes === 'number') guest.setDefinition(withMemorySize(guest.definition, { alias, bytes }));
  }
}
