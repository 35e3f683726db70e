/** What all virtio devices share: models and the options of their transport. */
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** QEMU's device for a model: `virtio-net-pci`, `virtio-net-pci-non-transitional`. */
export function virtioDevice(base: string, model: string | undefined): string {
  switch (model) {
    case 'virtio-transitional':
      return `${base}-transitional`;
    case 'virtio-non-transitional':
      return `${base}-non-transitional`;
    default:
      return base;
  }
}

interface VirtioOptions {
  readonly iommu?: boolean | undefined;
  readonly ats?: boolean | undefined;
  readonly packed?: boolean | undefined;
  readonly pagePerVq?: boolean | undefined;
}

/** The options of <driver> that every virtio device takes. */
export function virtioOptions(options: VirtioOptions | undefined): JsonObject {
  return {
    iommu_platform: options?.iommu,
    ats: options?.ats,
    packed: options?.packed,
    'page-per-vq': options?.pagePerVq,
  };
}

/** virtio options on a device that is not virtio are a problem. */
export function refuseVirtioOptions(b: Build, path: string, options: VirtioOptions | undefined): void {
  if (options === undefined) return;
  const { iommu, ats, packed, pagePerVq } = options;
  b.refuse(`${path}.driver`, { iommu, ats, packed, page_per_vq: pagePerVq }, 'needs a virtio device');
}
