/** Defaults of the small devices. */
import { familyOf, isX86, pciRootOf } from '../machine.ts';
import type { Draft } from './facts.ts';

export function defaultOtherDevices(draft: Draft): void {
  const { devices } = draft;
  const x86 = isX86(draft.os.type.arch);
  if (pciRootOf(familyOf(draft)) !== undefined) devices.memballoon ??= { model: 'virtio' };
  for (const watchdog of devices.watchdogs) watchdog.action ??= 'reset';
  if (x86) for (const panic of devices.panics) panic.model ??= 'isa';
  for (const tpm of devices.tpms) {
    tpm.model ??= draft.os.type.arch?.startsWith('ppc') ? 'tpm-spapr' : 'tpm-tis';
    if (tpm.backend.type === 'emulator') tpm.backend.version ??= '2.0';
  }
  for (const rng of devices.rngs) if (rng.backend.model === 'random') rng.backend.path ??= '/dev/random';
  for (const hostdev of devices.hostdevs) defaultHostdev(hostdev);
  for (const shmem of devices.shmems) {
    // The device that libvirt once meant by default is gone from QEMU since 4.0; its heirs are these two.
    shmem.model ??= shmem.server === undefined ? 'ivshmem-plain' : 'ivshmem-doorbell';
    if (shmem.model === 'ivshmem-plain') shmem.sizeBytes ??= 4 * 1024 * 1024;
  }
  if (devices.vsock !== undefined) defaultVsock(devices.vsock);
}

function defaultHostdev(hostdev: Draft['devices']['hostdevs'][number]): void {
  hostdev.managed ??= false;
  if (hostdev.source.type === 'mdev' && hostdev.model === 'vfio-pci') hostdev.display ??= false;
}

function defaultVsock(vsock: NonNullable<Draft['devices']['vsock']>): void {
  vsock.model ??= 'virtio';
  vsock.cid ??= { auto: true };
  if (vsock.cid.address === undefined) vsock.cid.auto ??= true;
}
