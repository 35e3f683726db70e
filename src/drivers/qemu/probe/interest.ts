/** What of a QEMU binary is worth remembering: the rest of its schema and its devices would only fill the cache. */

/**
 * Devices whose properties are recorded: what a definition can ask for. Transitional and non-transitional virtio
 * devices have the properties of the plain one.
 */
const configured: readonly RegExp[] = [
  /^virtio-[a-z0-9-]+-(pci|ccw|device)$/,
  /^virtio-vga(-gl)?$/,
  /^vhost-(user-(fs|blk|gpu|rng|vga)|vsock|scsi)(-pci|-ccw)?$/,
  /^(virtconsole|virtserialport)$/,
  /^(ide-(hd|cd)|floppy|isa-fdc|nvme|nvme-ns|nvdimm|pc-dimm|sd-card)$/,
  /^scsi-(hd|cd|block|generic)$/,
  /^usb-(storage|bot|uas|hub|tablet|mouse|kbd|host|redir|ccid|serial|audio|net|mtp|ehci|wacom-tablet|braille)$/,
  /^(qemu-xhci|nec-usb-xhci|pci-ohci|piix[34]-usb-uhci|ich9-usb-(ehci1|uhci[123])|vt82c686b-usb-uhci)$/,
  /^(ich9-ahci|ahci|piix[34]-ide|lsi53c895a|lsi53c810|megasas|megasas-gen2|mptsas1068|pvscsi|am53c974|dc390)$/,
  /^(pcie-root-port|pcie-pci-bridge|pci-bridge|pxb|pxb-pcie|i82801b11-bridge|x3130-upstream|xio3130-downstream|ioh3420)$/,
  /^(VGA|cirrus-vga|qxl|qxl-vga|vmware-svga|bochs-display|ramfb|secondary-vga|ati-vga|isa-vga)$/,
  /^(e1000|e1000e|igb|rtl8139|ne2k_pci|pcnet|vmxnet3|i8255[0-9][a-z]?|tulip|spapr-vlan)$/,
  /^(intel-hda|ich9-intel-hda|hda-(duplex|micro|output)|AC97|ES1370|sb16)$/,
  /^(i6300esb|ib700|diag288|tpm-tis|tpm-crb|tpm-spapr|tpm-tis-device|pvpanic|pvpanic-pci|vmcoreinfo|vmgenid)$/,
  /^(isa-serial|pci-serial|isa-debugcon|isa-parallel|sclpconsole|sclplmconsole|spapr-vty)$/,
  /^(vfio-pci|vfio-pci-nohotplug|vfio-ap|vfio-ccw|ivshmem-plain|ivshmem-doorbell)$/,
  /^(intel-iommu|amd-iommu|ccid-card-emulated|ccid-card-passthru)$/,
  /^(ICH9-LPC|PIIX4_PM|kvm-pit|isa-pit|mc146818rtc|hpet|ICH9-SMB)$/,
];

export function isConfiguredDevice(name: string): boolean {
  return configured.some((pattern) => pattern.test(name));
}

/** The device inside a virtio PCI or CCW device, by its possible names; undefined for other devices. */
function backingOf(name: string): readonly string[] | undefined {
  if (name.startsWith('virtio-vga')) return [`${name.replace('vga', 'gpu')}-device`];
  if (name === 'vhost-user-vga' || name === 'vhost-user-gpu-pci') return ['vhost-user-gpu'];
  const inner = /^(virtio-[a-z0-9-]+?)-(pci|ccw)(-transitional|-non-transitional)?$/.exec(name)?.[1];
  return inner === undefined ? undefined : [`${inner}-device`, inner];
}

/**
 * Leaves out devices that would end QEMU when made. With QEMU's modules installed in part (Debian without
 * qemu-system-gui), 7.2 lists `virtio-gpu-gl-pci` but exits with "missing object type 'virtio-gpu-gl-device'" when
 * that device is made or asked for its properties.
 */
export function withoutBroken(devices: readonly string[]): string[] {
  const known = new Set(devices);
  return devices.filter((name) => backingOf(name)?.some((inner) => known.has(inner)) ?? true);
}

/** Commands whose arguments are flattened into `schema`. */
const argumentsOfInterest =
  'blockdev-add blockdev-mirror blockdev-backup block_set_io_throttle block-export-add netdev_add object-add ' +
  'chardev-add device_add screendump set-action set_password expire_password migrate migrate-set-parameters ' +
  'migrate-set-capabilities dump-guest-memory announce-self transaction query-cpu-model-expansion ' +
  'display-update display-reload';

/** Commands whose results are. */
const resultsOfInterest = 'query-display-options query-audiodevs query-hotpluggable-cpus query-status';

export const schemaOfInterest: readonly {
  readonly command: string;
  readonly part: 'arg-type' | 'ret-type';
}[] = [
  ...argumentsOfInterest.split(' ').map((command) => ({ command, part: 'arg-type' as const })),
  ...resultsOfInterest.split(' ').map((command) => ({ command, part: 'ret-type' as const })),
];
