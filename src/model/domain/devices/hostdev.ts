/** `<hostdev>`: devices of the host given to the guest. `<redirfilter>`: which USB devices may be redirected. */
import {
  attr,
  child,
  childAttr,
  children,
  type Field,
  flag,
  type Infer,
  object,
  required,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, str, uint, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { boot, common, placed, plainPciCodec, rom } from './address.ts';
import { checked, fixed, kinds, need, onlyWith, within } from './combinators.ts';
import { authCodec, childInitiator } from './source.ts';

/** A USB vendor or product number, printed with four digits. */
const usbNumber = {
  parse: uint({ max: 0xffff }).parse,
  format: (value: number) => `0x${value.toString(16).padStart(4, '0')}`,
};
const startupPolicy = attr('startupPolicy', oneOf('mandatory', 'requisite', 'optional'));
const wwn = matching(/^(0x)?[0-9a-fA-F]{16}$/, 'a WWN of 16 hexadecimal digits');

const usbSource = checked(
  within('source', {
    startupPolicy,
    guestReset: attr('guestReset', oneOf('off', 'uninitialized', 'on')),
    vendorId: childAttr('vendor', 'id', usbNumber),
    productId: childAttr('product', 'id', usbNumber),
    address: child(
      'address',
      object({ bus: need('bus', uint({ max: 0xfff })), device: need('device', uint({ max: 0xfff })) }),
    ),
  }),
  (source, reader) => {
    if (source.address === undefined && (source.vendorId === undefined || source.productId === undefined))
      reader.problem(reader.at('source'), 'needs vendor and product, or an address');
  },
);

const parentAddress = object({
  uniqueId: attr('unique_id', uint({ min: 1, max: 0xffff_ffff })),
  address: required(child('address', plainPciCodec), 'address'),
});

const adapterCodec = object({
  type: attr('type', oneOf('scsi_host', 'fc_host')),
  name: attr('name', str({ max: 64 })),
  parent: attr('parent', str({ max: 64 })),
  managed: attr('managed', yesNo),
  parentWwnn: attr('parent_wwnn', wwn),
  parentWwpn: attr('parent_wwpn', wwn),
  parentFabricWwn: attr('parent_fabric_wwn', wwn),
  wwnn: attr('wwnn', wwn),
  wwpn: attr('wwpn', wwn),
  parentAddress: child('parentaddr', parentAddress),
});

/** A LUN of a host adapter (`adapter` with `address`), or an iSCSI LUN (`name` with `hosts`). */
const scsiSource = checked(
  within('source', {
    protocol: attr('protocol', oneOf('adapter', 'iscsi')),
    name: attr('name', str({ min: 1, max: 1024 })),
    adapter: child('adapter', adapterCodec),
    address: child(
      'address',
      object({
        bus: need('bus', uint({ max: 99 })),
        target: need('target', uint({ max: 9_999_999_999 })),
        unit: need('unit', uint()),
      }),
    ),
    hosts: children(
      'host',
      object({ name: need('name', str({ min: 1, max: 253 })), port: attr('port', uint({ max: 65_535 })) }),
    ),
    auth: child('auth', authCodec),
    initiatorIqn: childInitiator(),
  }),
  (source, reader) => {
    const missing = source.protocol === 'iscsi' ? ['name'] : ['adapter', 'address'];
    for (const key of missing)
      if ((source as Record<string, unknown>)[key] === undefined)
        reader.problem(reader.at(`source.${key}`), 'is missing');
    if (source.protocol === 'iscsi' && source.hosts.length === 0)
      reader.problem(reader.at('source.host'), 'is missing');
  },
);

const mdevAddress: Field<string> = required(childAttr('address', 'uuid', uuidText), 'address');

const sourceKinds = {
  pci: within('source', {
    startupPolicy,
    writeFiltering: attr('writeFiltering', yesNo),
    address: required(child('address', plainPciCodec), 'address'),
  }),
  usb: usbSource,
  scsi: scsiSource,
  scsi_host: within('source', {
    protocol: need('protocol', oneOf('vhost')),
    wwpn: need('wwpn', matching(/^naa\.[0-9a-fA-F]{16}$/, 'a WWPN like naa. with 16 hexadecimal digits')),
  }),
  mdev: within('source', { uuid: mdevAddress }),
};
const source = kinds('type', sourceKinds);
export type HostdevSource = typeof source extends Field<infer T> ? T : never;

/** Parts that only some types have (domaincommon.rng, hostdevsubsys...). */
const typeParts = {
  sgio: ['scsi'],
  rawio: ['scsi'],
  model: ['scsi_host', 'mdev'],
  display: ['mdev'],
  ramfb: ['mdev'],
  driver: ['pci'],
  teaming: ['pci'],
} as const;

const shape = object({
  mode: fixed('mode', 'subsystem', 'may'),
  driver: child(
    'driver',
    object({
      name: attr('name', oneOf('kvm', 'vfio', 'xen')),
      /** A variant of vfio-pci of the host's kernel, since libvirt 10.0: `mlx5_vfio_pci`. */
      model: attr('model', matching(/^[a-z0-9_-]{1,63}$/, 'the name of a kernel driver')),
    }),
  ),
  source,
  managed: attr('managed', yesNo),
  sgio: attr('sgio', oneOf('filtered', 'unfiltered')),
  rawio: attr('rawio', yesNo),
  model: attr(
    'model',
    oneOf('vfio-pci', 'vfio-ccw', 'vfio-ap', 'virtio', 'virtio-transitional', 'virtio-non-transitional'),
  ),
  display: attr('display', onOff),
  ramfb: attr('ramfb', onOff),
  teaming: child(
    'teaming',
    object({
      type: need('type', oneOf('persistent', 'transient')),
      persistent: attr('persistent', matching(/^[A-Za-z0-9_.-]{1,128}$/, 'an alias')),
    }),
  ),
  readonly: flag('readonly'),
  shareable: flag('shareable'),
  boot,
  rom,
  ...common,
});

export const hostdevCodec = checked(shape, (hostdev, reader) => {
  onlyWith(hostdev, hostdev.source.type, typeParts, reader);
  const isVfio = hostdev.model?.startsWith('vfio') === true;
  if (hostdev.source.type === 'mdev' && hostdev.model === undefined)
    reader.problem(reader.at('model'), 'is missing');
  if (hostdev.model !== undefined && isVfio !== (hostdev.source.type === 'mdev'))
    reader.problem(reader.at('model'), `'${hostdev.model}' does not go with type ${hostdev.source.type}`);
});
export type Hostdev = Infer<typeof hostdevCodec>;

/** A number of a USB device in a filter; -1 (any) is left out of the model. */
function filterNumber(name: string, digits: number): Field<number | undefined> {
  const field = attr(name, {
    parse: uint({ max: 16 ** digits - 1 }).parse,
    format: (value) => `0x${value.toString(16).toUpperCase().padStart(digits, '0')}`,
  });
  return {
    read: (reader) => (reader.attr(name)?.trim() === '-1' ? undefined : field.read(reader)),
    write: field.write,
  };
}

/** `1.10`, BCD as USB has it; -1 (any) is left out of the model. */
const versionField: Field<string | undefined> = (() => {
  const field = attr('version', matching(/^\d{1,2}\.\d{1,2}$/, 'a USB version like 2.00'));
  return {
    read: (reader) => (reader.attr('version') === '-1' ? undefined : field.read(reader)),
    write: field.write,
  };
})();

const usbdevCodec = object({
  class: filterNumber('class', 2),
  vendor: filterNumber('vendor', 4),
  product: filterNumber('product', 4),
  version: versionField,
  allow: need('allow', yesNo),
});
export const redirfilterCodec = object({ usbdevs: children('usbdev', usbdevCodec) });
export type RedirFilter = Infer<typeof redirfilterCodec>;

export const hubCodec = object({ type: need('type', oneOf('usb')), ...placed });
export type Hub = Infer<typeof hubCodec>;
