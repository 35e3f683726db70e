/**
 * How much memory a guest's QEMU may lock: that of VFIO devices is pinned, since hardware writes to it, and so is that of
 * SEV guests, since encrypted pages cannot be moved.
 */
import { reasonOf, VirtError } from '../../base/errors.ts';
import { getLimit, setLimit } from '../../base/ffi.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { sevKind } from '../../model/domain/launch-security.ts';

/** Beside the guest's RAM: QEMU's own memory, and the registers of devices that are mapped (libvirt allows the same). */
const EXTRA_BYTES = 1024 ** 3;

/** RLIMIT_MEMLOCK in bytes; undefined where nothing is locked, and the user's own limit will do. */
export function lockedBytes(definition: DomainDef): number | undefined {
  const { devices, memory, memoryBacking } = definition;
  const isVfio = (type: string) => type === 'pci' || type === 'mdev' || type === 'hostdev';
  const vfio = [...devices.hostdevs, ...devices.interfaces].filter(({ source }) =>
    isVfio(source.type),
  ).length;
  // The kernel counts what it pins of encrypted memory, too (arch/x86/kvm/svm/sev.c, sev_pin_memory).
  const locked = memoryBacking?.locked === true || sevKind(definition.launchSecurity) !== undefined;
  if (vfio === 0 && !locked) return undefined;
  const plugged = devices.memories.reduce((sum, device) => sum + device.target.sizeKiB, 0);
  const ramBytes = (memory.sizeKiB + plugged) * 1024;
  // Behind an IOMMU of its own each device has a mapping of its own, and each is counted.
  const times = devices.iommu === undefined ? 1 : Math.max(vfio, 1);
  return ramBytes * times + EXTRA_BYTES;
}

/**
 * Lets the QEMU of a running guest lock what the definition needs once a device has come: VFIO pins all of the guest's
 * memory then. What it may lock already stays. @throws VirtError system.call where the daemon may not raise limits
 */
export function allowLocking(pid: number, definition: DomainDef, wanted: string): void {
  const needed = BigInt(lockedBytes(definition) ?? 0);
  if (needed === 0n) return;
  try {
    const { soft, hard } = getLimit(pid, 'lockedBytes');
    if (soft >= needed) return;
    setLimit(pid, 'lockedBytes', { soft: needed, hard: hard > needed ? hard : needed });
  } catch (error) {
    throw new VirtError('system.call', {
      wanted,
      reason: `QEMU may not lock the guest's memory, ${needed} bytes: ${reasonOf(error)}`,
      hint: 'a device of the host needs that; give it at the start, or let the daemon raise limits (CAP_SYS_RESOURCE)',
      cause: error,
    });
  }
}
