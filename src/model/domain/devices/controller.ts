/** `<controller>`: buses that devices sit on. */
import { attr, child, childAttr, childText, type Infer, object } from '../../../base/xml/codec.ts';
import { oneOf, onOff, uint } from '../../../base/xml/scalars.ts';
import { common, virtioOptions } from './address.ts';
import { checked, kibRule, need, size } from './combinators.ts';

/** The models of each type (domaincommon.rng, "controller"); types that aren't here have none. */
export const controllerModels = {
  pci: [
    'pci-root',
    'pcie-root',
    'pci-bridge',
    'dmi-to-pci-bridge',
    'pcie-to-pci-bridge',
    'pcie-root-port',
    'pcie-switch-upstream-port',
    'pcie-switch-downstream-port',
    'pci-expander-bus',
    'pcie-expander-bus',
  ],
  usb: [
    'piix3-uhci',
    'piix4-uhci',
    'ehci',
    'ich9-ehci1',
    'ich9-uhci1',
    'ich9-uhci2',
    'ich9-uhci3',
    'vt82c686b-uhci',
    'pci-ohci',
    'nec-xhci',
    'none',
    'qusb1',
    'qusb2',
    'qemu-xhci',
  ],
  scsi: [
    'auto',
    'buslogic',
    'lsilogic',
    'lsisas1068',
    'vmpvscsi',
    'ibmvscsi',
    'virtio-scsi',
    'lsisas1078',
    'virtio-transitional',
    'virtio-non-transitional',
    'ncr53c90',
    'dc390',
    'am53c974',
  ],
  ide: ['piix3', 'piix4', 'ich6'],
  'virtio-serial': ['virtio', 'virtio-transitional', 'virtio-non-transitional'],
} as const;

export type ControllerModel = (typeof controllerModels)[keyof typeof controllerModels][number];
const allModels: readonly ControllerModel[] = [...new Set(Object.values(controllerModels).flat())];

const targetCodec = object({
  chassisNr: attr('chassisNr', uint({ max: 255 })),
  chassis: attr('chassis', uint({ max: 255 })),
  port: attr('port', uintHex(255)),
  busNr: attr('busNr', uint({ max: 255 })),
  index: attr('index', uint({ max: 255 })),
  hotplug: attr('hotplug', onOff),
  /** The guest NUMA node of an expander bus. */
  node: childText('node', uint({ max: 65_535 })),
});

const driverCodec = object({
  queues: attr('queues', uint({ max: 65_535 })),
  cmdPerLun: attr('cmd_per_lun', uint({ max: 0xffff_ffff })),
  maxSectors: attr('max_sectors', uint({ max: 0xffff_ffff })),
  ioeventfd: attr('ioeventfd', onOff),
  iothread: attr('iothread', uint({ max: 0xffff_ffff })),
  ...virtioOptions,
});

/** A number that libvirt prints in hexadecimal with one digit at least (port='0x8'). */
function uintHex(max: number) {
  return { parse: uint({ max }).parse, format: (value: number) => `0x${value.toString(16)}` };
}

const shape = object({
  type: need(
    'type',
    oneOf('fdc', 'sata', 'ccid', 'scsi', 'usb', 'ide', 'isa', 'pci', 'virtio-serial', 'xenbus'),
  ),
  /** Counted from 0 for each type; for pci it is the bus number. */
  index: attr('index', uint({ max: 65_535 })),
  model: attr('model', oneOf(...allModels)),
  ports: attr('ports', uint({ max: 255 })),
  vectors: attr('vectors', uint({ max: 65_535 })),
  driver: child('driver', driverCodec),
  /** The QEMU device behind a PCI controller's model. */
  modelName: childAttr(
    'model',
    'name',
    oneOf(
      'spapr-pci-host-bridge',
      'pci-bridge',
      'i82801b11-bridge',
      'pcie-pci-bridge',
      'ioh3420',
      'pcie-root-port',
      'x3130-upstream',
      'xio3130-downstream',
      'pxb',
      'pxb-pcie',
    ),
  ),
  target: child('target', targetCodec),
  /** pci-root and pcie-root: the size of the 64-bit hole, in KiB. */
  pciHole64KiB: child('pcihole64', size(kibRule)),
  /** Companion controllers (uhci with ehci): the first port of the master. */
  masterStartPort: childAttr('master', 'startport', uint({ max: 255 })),
  ...common,
});
type AnyController = Infer<typeof shape>;

/** Parts that only some types have. */
const onlyOf: readonly (readonly [keyof AnyController, readonly AnyController['type'][]])[] = [
  ['ports', ['usb', 'virtio-serial']],
  ['vectors', ['virtio-serial']],
  ['modelName', ['pci']],
  ['target', ['pci']],
  ['pciHole64KiB', ['pci']],
  ['masterStartPort', ['usb']],
];

/** One controller of any type; parts that its type doesn't have are refused. */
export const controllerCodec = checked(shape, (controller, reader) => {
  const models: readonly string[] =
    (controllerModels as Record<string, readonly string[]>)[controller.type] ?? [];
  if (controller.model !== undefined && !models.includes(controller.model))
    reader.problem(
      reader.at('model'),
      `'${controller.model}' is no model of a ${controller.type} controller`,
    );
  for (const [key, types] of onlyOf)
    if (controller[key] !== undefined && !types.includes(controller.type))
      reader.problem(reader.at(key), `does not belong to a ${controller.type} controller`);
});
export type Controller = Infer<typeof controllerCodec>;
