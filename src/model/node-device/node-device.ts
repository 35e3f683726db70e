/** A device of the host as libvirt's node device objects tell it (libvirt, "Node devices XML format"). */

/** A PCI function. */
export interface PciPlace {
  readonly domain: number;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}

/** A number of a vendor or product, with its name where the host knows it. */
export interface NamedId {
  readonly id: number;
  readonly name?: string;
}

/** A kind of mediated device that a physical one can be divided into (kernel, vfio-mediated-device.rst). */
export interface MdevType {
  readonly id: string;
  readonly name?: string;
  readonly deviceApi: string;
  readonly availableInstances: number;
}

export interface PciLink {
  /** In GT/s; undefined where the kernel doesn't know it. */
  readonly speed?: string;
  readonly width: number;
}

export interface PciCapability {
  readonly type: 'pci';
  readonly place: PciPlace;
  /** Base class, subclass and interface: 0x030000 is a VGA card. */
  readonly class: number;
  readonly product: NamedId;
  readonly vendor: NamedId;
  /** Of a virtual function: the physical one. */
  readonly physicalFunction?: PciPlace;
  /** Of a physical function that can have virtual ones (SR-IOV). */
  readonly virtualFunctions?: { readonly max: number; readonly places: readonly PciPlace[] };
  readonly isBridge?: boolean;
  readonly mdevTypes?: readonly MdevType[];
  readonly iommuGroup?: { readonly number: number; readonly places: readonly PciPlace[] };
  readonly numaNode?: number;
  readonly express?: { readonly capable?: PciLink; readonly now?: PciLink };
}

export interface StorageCapability {
  readonly type: 'storage';
  /** `/dev/vda` */
  readonly block: string;
  readonly bus?: string;
  readonly driveType: string;
  readonly model?: string;
  readonly vendor?: string;
  readonly serial?: string;
  readonly isRemovable: boolean;
  readonly hasMedium: boolean;
  readonly sizeBytes: number;
  readonly logicalBlockBytes?: number;
}

export interface NetCapability {
  readonly type: 'net';
  readonly interface: string;
  readonly address?: string;
  readonly link: { readonly state: string; readonly speedMbps?: number };
  readonly kind: '80203' | '80211';
}

export interface ScsiHostCapability {
  readonly type: 'scsi_host';
  readonly host: number;
  readonly uniqueId?: number;
  /** Names of a Fibre Channel port, 16 hexadecimal digits each. */
  readonly fibreChannel?: { readonly wwnn: string; readonly wwpn: string; readonly fabricWwn?: string };
  /** Virtual ports (NPIV). */
  readonly vports?: { readonly max: number; readonly inUse: number };
}

export interface SystemCapability {
  readonly type: 'system';
  readonly product?: string;
  readonly hardware: {
    readonly vendor?: string;
    readonly version?: string;
    readonly serial?: string;
    readonly uuid: string;
  };
  readonly firmware: { readonly vendor?: string; readonly version?: string; readonly releaseDate?: string };
}

export type NodeCapability =
  | SystemCapability
  | PciCapability
  | {
      readonly type: 'usb_device';
      readonly bus: number;
      readonly device: number;
      readonly product: NamedId;
      readonly vendor: NamedId;
    }
  | {
      /** One interface of a USB device. */
      readonly type: 'usb';
      readonly number: number;
      readonly class: number;
      readonly subclass: number;
      readonly protocol: number;
    }
  | NetCapability
  | StorageCapability
  | ScsiHostCapability
  | { readonly type: 'scsi_target'; readonly target: string }
  | {
      readonly type: 'scsi';
      readonly host: number;
      readonly bus: number;
      readonly target: number;
      readonly lun: number;
      readonly kind?: string;
    }
  | { readonly type: 'scsi_generic'; readonly char: string }
  | { readonly type: 'drm'; readonly kind: 'primary' | 'control' | 'render' }
  | {
      readonly type: 'mdev';
      readonly typeId: string;
      readonly uuid: string;
      readonly parentAddress?: string;
      readonly iommuGroup?: number;
      /** Of a stored one: what is written to it at its start. */
      readonly attributes?: readonly { readonly name: string; readonly value: string }[];
    }
  | { readonly type: 'vdpa'; readonly chardev: string };

export interface NodeDevice {
  /** libvirt's name: `pci_0000_00_02_0`. */
  readonly name: string;
  /** Below /sys/devices; undefined for the computer itself. */
  readonly path?: string;
  readonly parent?: string;
  readonly driver?: string;
  /** `/dev/vda`, and other names of it. */
  readonly devnode?: string;
  readonly devlinks: readonly string[];
  /** A mediated device that is stored and not there. */
  readonly isInactive?: true;
  readonly capability: NodeCapability;
}

/** Words by which lists of devices can be narrowed. */
export const nodeCapabilityTypes = [
  'system',
  'pci',
  'usb_device',
  'usb',
  'net',
  'scsi_host',
  'scsi_target',
  'scsi',
  'storage',
  'fc_host',
  'vports',
  'scsi_generic',
  'drm',
  'mdev_types',
  'mdev',
  'vdpa',
] as const;
export type NodeCapabilityType = (typeof nodeCapabilityTypes)[number];

/** Everything that a device is by libvirt's count: its own type, and what it can besides. */
export function capabilityTypesOf({ capability }: NodeDevice): NodeCapabilityType[] {
  const types: NodeCapabilityType[] = [capability.type];
  if (capability.type === 'scsi_host' && capability.fibreChannel) types.push('fc_host');
  if (capability.type === 'scsi_host' && capability.vports) types.push('vports');
  if (capability.type === 'pci' && capability.mdevTypes?.length) types.push('mdev_types');
  return types;
}

/** The name of the device that is the host itself, above all others. */
export const COMPUTER = 'computer';
