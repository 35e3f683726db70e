/** Prints a node device as libvirt does; the order is that of its schema (nodedev.rng). */
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { element, textElement } from '../capabilities/parts.ts';
import type {
  MdevType,
  NamedId,
  NetCapability,
  NodeCapability,
  NodeDevice,
  PciCapability,
  PciLink,
  PciPlace,
  ScsiHostCapability,
  StorageCapability,
  SystemCapability,
} from './node-device.ts';

type Parts = readonly (XmlElement | undefined)[];

export function formatNodeDevice(device: NodeDevice): string {
  const { name, path, devnode, devlinks, parent, driver, capability } = device;
  return formatXml(
    element('device', {}, [
      textElement('name', name),
      optional('path', path),
      devnode === undefined ? undefined : element('devnode', { type: 'dev' }, [devnode]),
      ...devlinks.map((link) => element('devnode', { type: 'link' }, [link])),
      optional('parent', parent),
      driver === undefined ? undefined : element('driver', {}, [textElement('name', driver)]),
      element('capability', { type: capability.type }, partsOf(capability)),
    ]),
  );
}

function partsOf(capability: NodeCapability): Parts {
  switch (capability.type) {
    case 'system':
      return systemParts(capability);
    case 'pci':
      return pciParts(capability);
    case 'usb_device':
      return [
        textElement('bus', capability.bus),
        textElement('device', capability.device),
        named('product', capability.product),
        named('vendor', capability.vendor),
      ];
    case 'usb':
      return [
        textElement('number', capability.number),
        textElement('class', capability.class),
        textElement('subclass', capability.subclass),
        textElement('protocol', capability.protocol),
      ];
    case 'net':
      return netParts(capability);
    case 'storage':
      return storageParts(capability);
    case 'scsi_host':
      return scsiHostParts(capability);
    case 'scsi_target':
      return [textElement('target', capability.target)];
    case 'scsi':
      return [
        textElement('host', capability.host),
        textElement('bus', capability.bus),
        textElement('target', capability.target),
        textElement('lun', capability.lun),
        optional('type', capability.kind),
      ];
    case 'scsi_generic':
      return [textElement('char', capability.char)];
    case 'drm':
      return [textElement('type', capability.kind)];
    case 'mdev':
      return [
        element('type', { id: capability.typeId }),
        textElement('uuid', capability.uuid),
        optional('parent_addr', capability.parentAddress),
        capability.iommuGroup === undefined
          ? undefined
          : element('iommuGroup', { number: capability.iommuGroup }),
        ...(capability.attributes ?? []).map(({ name, value }) => element('attr', { name, value })),
      ];
    case 'vdpa':
      return [textElement('chardev', capability.chardev)];
  }
}

function systemParts({ product, hardware, firmware }: SystemCapability): Parts {
  return [
    optional('product', product),
    element('hardware', {}, [
      optional('vendor', hardware.vendor),
      optional('version', hardware.version),
      optional('serial', hardware.serial),
      textElement('uuid', hardware.uuid),
    ]),
    element('firmware', {}, [
      optional('vendor', firmware.vendor),
      optional('version', firmware.version),
      optional('release_date', firmware.releaseDate),
    ]),
  ];
}

function pciParts(pci: PciCapability): Parts {
  const { place, physicalFunction, virtualFunctions, iommuGroup, numaNode, express } = pci;
  return [
    textElement('class', hex(pci.class, 6)),
    textElement('domain', place.domain),
    textElement('bus', place.bus),
    textElement('slot', place.slot),
    textElement('function', place.function),
    named('product', pci.product),
    named('vendor', pci.vendor),
    physicalFunction && element('capability', { type: 'phys_function' }, [address(physicalFunction)]),
    virtualFunctions &&
      element(
        'capability',
        { type: 'virt_functions', maxCount: virtualFunctions.max },
        virtualFunctions.places.map(address),
      ),
    pci.isBridge === true ? element('capability', { type: 'pci-bridge' }) : undefined,
    mdevTypes(pci.mdevTypes ?? []),
    iommuGroup && element('iommuGroup', { number: iommuGroup.number }, iommuGroup.places.map(address)),
    numaNode === undefined ? undefined : element('numa', { node: numaNode }),
    express && element('pci-express', {}, [link('cap', express.capable), link('sta', express.now)]),
  ];
}

function mdevTypes(types: readonly MdevType[]): XmlElement | undefined {
  if (types.length === 0) return undefined;
  return element(
    'capability',
    { type: 'mdev_types' },
    types.map((type) =>
      element('type', { id: type.id }, [
        optional('name', type.name),
        textElement('deviceAPI', type.deviceApi),
        textElement('availableInstances', type.availableInstances),
      ]),
    ),
  );
}

function link(validity: 'cap' | 'sta', found: PciLink | undefined): XmlElement | undefined {
  return found && element('link', { validity, speed: found.speed, width: found.width });
}

function netParts(net: NetCapability): Parts {
  const { state, speedMbps } = net.link;
  return [
    textElement('interface', net.interface),
    optional('address', net.address),
    element('link', { speed: speedMbps, state }),
    element('capability', { type: net.kind }),
  ];
}

function storageParts(storage: StorageCapability): Parts {
  const { isRemovable, hasMedium, sizeBytes, logicalBlockBytes } = storage;
  const blocks = logicalBlockBytes
    ? [
        textElement('logical_block_size', logicalBlockBytes),
        textElement('num_blocks', Math.floor(sizeBytes / logicalBlockBytes)),
      ]
    : [];
  const medium = isRemovable
    ? [
        element('capability', { type: 'removable' }, [
          textElement('media_available', hasMedium ? 1 : 0),
          textElement('media_size', sizeBytes),
          ...blocks,
        ]),
      ]
    : [textElement('size', sizeBytes), ...blocks];
  return [
    textElement('block', storage.block),
    optional('bus', storage.bus),
    optional('drive_type', storage.driveType),
    optional('model', storage.model),
    optional('vendor', storage.vendor),
    optional('serial', storage.serial),
    ...medium,
  ];
}

function scsiHostParts({ host, uniqueId, fibreChannel, vports }: ScsiHostCapability): Parts {
  return [
    textElement('host', host),
    uniqueId === undefined ? undefined : textElement('unique_id', uniqueId),
    fibreChannel &&
      element('capability', { type: 'fc_host' }, [
        textElement('wwnn', fibreChannel.wwnn),
        textElement('wwpn', fibreChannel.wwpn),
        optional('fabric_wwn', fibreChannel.fabricWwn),
      ]),
    vports &&
      element('capability', { type: 'vport_ops' }, [
        textElement('max_vports', vports.max),
        textElement('vports', vports.inUse),
      ]),
  ];
}

function optional(name: string, text: string | undefined): XmlElement | undefined {
  return text === undefined ? undefined : textElement(name, text);
}

function named(name: string, { id, name: text }: NamedId): XmlElement {
  return element(name, { id: hex(id, 4) }, text === undefined ? [] : [text]);
}

function address(place: PciPlace): XmlElement {
  return element('address', {
    domain: hex(place.domain, 4),
    bus: hex(place.bus, 2),
    slot: hex(place.slot, 2),
    function: hex(place.function, 1),
  });
}

const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`;
