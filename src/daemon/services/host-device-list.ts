/** The host's PCI, USB and SCSI devices with their names and the guests that have them. Only looks; a session may, too. */
import type { HostDeviceProvider } from '../../drivers/driver.ts';
import { listPci, listUsb, type PciDevice, type UsbDevice } from '../../drivers/host-devices/list.ts';
import { findNames, idsOf } from '../../drivers/host-devices/names.ts';
import { listScsi, type ScsiDevice } from '../../drivers/host-devices/scsi.ts';
import { hostFiles } from '../../kvm/host-files.ts';

interface Holder {
  readonly uuid: string;
  readonly name: string;
}

interface Described {
  readonly vendorName: string | undefined;
  readonly productName: string | undefined;
  readonly usedBy: Holder | undefined;
}

/** `vendor:product` in hexadecimal digits. */
interface Identified {
  readonly ids: string;
}

/** One device. */
export type ListedDevice = Described &
  (
    | ({ readonly type: 'pci' } & Identified & Omit<PciDevice, 'vendor' | 'device'>)
    | ({ readonly type: 'usb' } & Identified & Omit<UsbDevice, 'vendor' | 'product' | keyof Described>)
    | ({ readonly type: 'scsi' } & Omit<ScsiDevice, keyof Described>)
  );

export function listHostDevices(
  provider: Pick<HostDeviceProvider, 'holders'>,
  files = hostFiles(),
): ListedDevice[] {
  const holders = provider.holders();
  const pci = listPci(files).map((one) => ({ ...one, product: one.device }));
  const pciNames = findNames(files, 'pci', pci);
  const usb = listUsb(files);
  const usbNames = findNames(files, 'usb', usb);
  return [
    ...pci.map(({ vendor, device: _device, product, ...one }) => {
      const ids = idsOf({ vendor, product });
      const names = pciNames.get(ids);
      return {
        type: 'pci' as const,
        ...one,
        ids,
        vendorName: names?.vendor,
        productName: names?.product,
        usedBy: holders.get(`pci ${one.address}`),
      };
    }),
    ...usb.map(({ vendor, product, ...one }) => {
      const ids = idsOf({ vendor, product });
      const names = usbNames.get(ids);
      return {
        type: 'usb' as const,
        ...one,
        ids,
        // What the device says of itself is often better than the list, and sometimes empty.
        vendorName: one.vendorName ?? names?.vendor,
        productName: one.productName ?? names?.product,
        usedBy: holders.get(`usb ${one.name}`),
      };
    }),
    ...listScsi(files).map((one) => ({
      type: 'scsi' as const,
      ...one,
      usedBy: holders.get(`scsi ${one.place}`),
    })),
  ];
}
