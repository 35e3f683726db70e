/** Where a device sits, and the parts that every device shares: address, alias, boot order, ACPI index, ROM. */
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  defaulted,
  type Field,
  type FormatOptions,
  type Infer,
  object,
  onlyFor,
  required,
} from '../../../base/xml/codec.ts';
import { hex, matching, onOff, path, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { checked, kinds, need } from './combinators.ts';

const pciNumbers = {
  domain: attr('domain', hex(4, { max: 0xffff })),
  bus: attr('bus', hex(2, { max: 0xff })),
  slot: attr('slot', hex(2, { max: 0x1f })),
  // One octal digit; libvirt prints it as 0x0 to 0x7.
  function: attr('function', hex(1, { max: 7 })),
};

/** A PCI address whose parts default to 0. */
export const plainPci = {
  domain: defaulted(pciNumbers.domain, 0),
  bus: defaulted(pciNumbers.bus, 0),
  slot: defaulted(pciNumbers.slot, 0),
  function: defaulted(pciNumbers.function, 0),
};
export const plainPciCodec = object(plainPci);
export type PciNumbers = Infer<typeof plainPciCodec>;

const zpci = object({
  uid: attr('uid', hex(4, { max: 0xffff })),
  fid: attr('fid', hex(8, { max: 0xffff_ffff })),
});

/**
 * The guest's PCI address. `<address type='pci'/>` alone asks for a PCI address without naming it: then all four
 * numbers are absent; otherwise all four are there.
 */
const pci = checked(
  object({ ...pciNumbers, multifunction: attr('multifunction', onOff), zpci: child('zpci', zpci) }),
  (value) => {
    if ([value.domain, value.bus, value.slot, value.function].every((n) => n === undefined)) return;
    value.domain ??= 0;
    value.bus ??= 0;
    value.slot ??= 0;
    value.function ??= 0;
  },
);

const zeroed = (name: string, max: number) => defaulted(attr(name, uint({ max })), 0);

/** libvirt: up to four port numbers, one for each hub on the way. */
const usbPort = matching(/^[0-9a-fA-FxX]{1,5}(\.[0-9a-fA-FxX]{1,5}){0,3}$/, 'a USB port like 1 or 1.2');

/** Ranges: domaincommon.rng (pciaddress, driveaddress, virtioserialaddress, ...). */
const addressKinds = {
  pci,
  drive: object({
    controller: zeroed('controller', 99),
    bus: zeroed('bus', 99),
    target: zeroed('target', 99),
    unit: zeroed('unit', 99_999),
  }),
  'virtio-serial': object({
    controller: zeroed('controller', 99),
    bus: zeroed('bus', 99),
    port: attr('port', uint({ max: 99 })),
  }),
  ccid: object({ controller: zeroed('controller', 99), slot: attr('slot', uint({ max: 99 })) }),
  usb: object({ bus: zeroed('bus', 999), port: attr('port', usbPort) }),
  isa: object({ iobase: attr('iobase', hex(1, { max: 0xffff })), irq: attr('irq', hex(1, { max: 15 })) }),
  'spapr-vio': object({ reg: attr('reg', hex(8, { max: 0xffff_ffff })) }),
  ccw: object({
    cssid: attr('cssid', hex(1, { max: 0xfe })),
    ssid: attr('ssid', hex(1, { max: 3 })),
    devno: attr('devno', hex(4, { max: 0xffff })),
  }),
  dimm: object({
    slot: attr('slot', uint({ max: 0xffff_ffff })),
    base: attr('base', hex(1, { max: 2 ** 52 })),
  }),
  'virtio-mmio': object({}),
  unassigned: object({}),
};

const addressCodec = object({ value: kinds('type', addressKinds) });

/** The guest address of a device, by `type`. */
export type Address = Infer<typeof addressCodec>['value'];
export type AddressOf<T extends Address['type']> = Extract<Address, { type: T }>;

/** The whole of an `<address>` element as the union itself. */
export const address: Field<Address | undefined> = child('address', {
  read: (reader) => addressCodec.read(reader).value,
  write: (element, value, options) => addressCodec.write(element, { value }, options),
});

/** The four numbers of a complete PCI address; undefined for any other address. */
export function pciNumbersOf(address: Address | undefined): PciNumbers | undefined {
  if (address?.type !== 'pci' || address.bus === undefined) return undefined;
  return {
    domain: address.domain ?? 0,
    bus: address.bus,
    slot: address.slot ?? 0,
    function: address.function ?? 0,
  };
}

const aliasName = matching(/^[A-Za-z0-9_.-]{1,128}$/, 'an alias (letters, digits, _ . -)');

/** Aliases that a user gave and that stay in the stored definition (formatdomain, "alias"). */
export const isUserAlias = (alias: string): boolean => alias.startsWith('ua-');

const whenLive = (options: FormatOptions): boolean => options.inactive !== true;
const aliasField = childAttr('alias', 'name', aliasName);

/** `<alias name='net0'/>`: the device's name in QEMU. Generated ones live only while the domain runs. */
export const alias: Field<string | undefined> = {
  read: aliasField.read,
  write(element, value, options) {
    if (value !== undefined && (whenLive(options) || isUserAlias(value)))
      aliasField.write(element, value, options);
  },
};

/**
 * The alias of a device in which libvirt 9.0's schema has no <alias>: QEMU and QMP need the name all the same, but
 * only a user's is printed.
 */
export const unlistedAlias: Field<string | undefined> = {
  read: alias.read,
  write: (element, value, options) => alias.write(element, value, { ...options, inactive: true }),
};

/** A part that is only written for a running domain. */
export const live = <T>(field: Field<T>): Field<T> => onlyFor(field, whenLive);

const bootCodec = object({
  order: required(attr('order', uint({ min: 1, max: 1_000_000 })), 'order'),
  loadparm: attr('loadparm', matching(/^[A-Za-z0-9. ]{1,8}$/, 'a load parameter')),
});

/** `<boot order='1'/>`: the place of a device in the boot order, from 1. */
export const boot = child('boot', bootCodec);

const romCodec = object({
  enabled: attr('enabled', yesNo),
  bar: attr('bar', onOff),
  file: attr('file', path),
});
export const rom = child('rom', romCodec);

/** What devices that the guest's firmware tables never name end with (domaincommon.rng has no `<acpi>` for them). */
export const placed = { alias, address };

/** What all other devices with a bus end with, in libvirt's order. */
export const common = {
  alias,
  acpiIndex: childAttr('acpi', 'index', uint({ min: 0, max: 16 * 1024 - 1 })),
  address,
};

/** Attributes of every virtio device's `<driver>`. */
export const virtioOptions = {
  iommu: attr('iommu', onOff),
  ats: attr('ats', onOff),
  packed: attr('packed', onOff),
  pagePerVq: attr('page_per_vq', onOff),
};
export const virtioDriver = child('driver', object(virtioOptions));

/** `<seclabel>` of one source: which security driver labels it, and how. */
const seclabelCodec = object({
  model: attr('model', str({ max: 64 })),
  relabel: attr('relabel', yesNo),
  labelskip: attr('labelskip', yesNo),
  label: childText('label', str()),
});
export const seclabels = children('seclabel', seclabelCodec);

/** `<reconnect enabled='yes' timeout='10'/>` of a client socket; the timeout is in seconds. */
export const reconnect = child(
  'reconnect',
  object({ enabled: need('enabled', yesNo), timeoutSeconds: attr('timeout', uint({ max: 86_400 })) }),
);
