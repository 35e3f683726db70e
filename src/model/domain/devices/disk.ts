/** `<disk>`: hard disks, CD-ROM and floppy drives, LUNs, with their chain of images. */
import {
  attr,
  child,
  children,
  childText,
  defaulted,
  type ElementCodec,
  type Field,
  type FormatOptions,
  flag,
  type Infer,
  object,
  Reader,
  required,
  wrapped,
  writeElement,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { childOf, type XmlElement, xmlElement } from '../../../base/xml/tree.ts';
import { boot, common, live, virtioOptions } from './address.ts';
import { bytesRule, checked, need, onlyWith, size } from './combinators.ts';
import {
  auth,
  type DiskAuth,
  type DiskSource,
  diskSource,
  type Encryption,
  encryption,
  storageFormat,
  storageFormatNames,
} from './source.ts';

/** `<metadata_cache><max_size unit='bytes'>…`: memory for a qcow2 image's tables. */
export function metadataCache(): Field<number | undefined> {
  const inner = child('metadata_cache', object({ maxBytes: child('max_size', size(bytesRule)) }));
  return {
    read: (reader) => inner.read(reader)?.maxBytes,
    write: (element, value, options) =>
      inner.write(element, value === undefined ? undefined : { maxBytes: value }, options),
  };
}

const driverCodec = object({
  name: attr('name', str({ max: 64 })),
  type: attr('type', oneOf(...storageFormatNames, 'aio')),
  cache: attr('cache', oneOf('default', 'none', 'writeback', 'writethrough', 'directsync', 'unsafe')),
  errorPolicy: attr('error_policy', oneOf('stop', 'report', 'ignore', 'enospace')),
  rerrorPolicy: attr('rerror_policy', oneOf('stop', 'report', 'ignore')),
  io: attr('io', oneOf('threads', 'native', 'io_uring')),
  ioeventfd: attr('ioeventfd', onOff),
  eventIdx: attr('event_idx', onOff),
  copyOnRead: attr('copy_on_read', onOff),
  discard: attr('discard', oneOf('unmap', 'ignore')),
  /** The id of an iothread, from 1. */
  iothread: attr('iothread', uint({ max: 0xffff_ffff })),
  detectZeroes: attr('detect_zeroes', oneOf('off', 'on', 'unmap')),
  queues: attr('queues', uint({ min: 1, max: 65_535 })),
  queueSize: attr('queue_size', uint({ min: 1, max: 65_535 })),
  ...virtioOptions,
  metadataCacheBytes: metadataCache(),
});
export type DiskDriver = Infer<typeof driverCodec>;

/** An image below another one. `null` where it would stand says: the chain ends here (`<backingStore/>`). */
export interface BackingStore {
  readonly index?: number | undefined;
  readonly format: {
    readonly type: typeof storageFormat extends { parse: (t: string) => infer F } ? F : never;
    readonly metadataCacheBytes?: number | undefined;
  };
  readonly source: DiskSource;
  readonly backingStore?: BackingStore | null | undefined;
}

const format = child(
  'format',
  object({ type: need('type', storageFormat), metadataCacheBytes: metadataCache() }),
);

/** The chain is as deep as the document, whose depth the parser limits. */
const backingStore: Field<BackingStore | null | undefined> = {
  read(reader) {
    const found = reader.child('backingStore');
    if (found === undefined) return undefined;
    const inner = new Reader(found, reader.at('backingStore'), reader.state);
    if (found.attrs.size > 0 || found.children.some((node) => typeof node !== 'string'))
      return backingCodec.read(inner);
    inner.finish();
    return null;
  },
  write(element, value, options) {
    if (value === null) element.children.push(xmlElement('backingStore'));
    else if (value !== undefined)
      element.children.push(writeElement(backingCodec, 'backingStore', value, options));
  },
};

const backingCodec: ElementCodec<BackingStore> = object({
  format: required(format, 'format'),
  source: diskSource,
  index: live(attr('index', uint({ min: 1, max: 1_000_000 }))),
  backingStore,
});

/** `<mirror>`: a copy in progress; only a running domain has it. */
const mirrorCodec = object({
  format,
  source: diskSource,
  job: attr('job', oneOf('copy', 'active-commit')),
  ready: attr('ready', oneOf('yes', 'abort', 'pivot')),
  backingStore,
});

/** The older form `<mirror file='…' format='…'/>` as the newer one, which wins where both are given. */
function modernMirror(element: XmlElement): XmlElement {
  const { file, format: type, ...rest } = Object.fromEntries(element.attrs);
  if (file === undefined || childOf(element, 'source'))
    return { ...element, attrs: new Map(Object.entries(rest)) };
  const parts = [xmlElement('source', [['file', file]])];
  if (type !== undefined) parts.push(xmlElement('format', [['type', type]]));
  return xmlElement('mirror', Object.entries({ job: 'copy', ...rest }), [...parts, ...element.children]);
}

/** A copy to a file is written in the older form too: there are programs that read nothing else. */
function writeMirror(element: XmlElement, value: Infer<typeof mirrorCodec>, options: FormatOptions): void {
  mirrorCodec.write(element, value, options);
  if (value.job !== 'copy' || value.source.type !== 'file' || value.source.file === undefined) return;
  const { type = 'file', ...rest } = Object.fromEntries(element.attrs);
  element.attrs.clear();
  element.attrs.set('type', type).set('file', value.source.file);
  if (value.format !== undefined) element.attrs.set('format', value.format.type);
  for (const [name, text] of Object.entries(rest)) element.attrs.set(name, text);
}

const mirror = child('mirror', {
  read: (reader) => mirrorCodec.read(new Reader(modernMirror(reader.element), reader.path, reader.state)),
  write: writeMirror,
} satisfies typeof mirrorCodec);

const count = uint();

/** A limit; 0 means none, which is the same as leaving it out. */
const limit = (name: string): Field<number | undefined> =>
  childText(name, { parse: (text) => count.parse(text) || undefined, format: String });

/** Bytes and operations a second; 0 is no limit. `max` are bursts, `max_length` their seconds. */
const iotuneShape = object({
  totalBytesSec: limit('total_bytes_sec'),
  readBytesSec: limit('read_bytes_sec'),
  writeBytesSec: limit('write_bytes_sec'),
  totalIopsSec: limit('total_iops_sec'),
  readIopsSec: limit('read_iops_sec'),
  writeIopsSec: limit('write_iops_sec'),
  totalBytesSecMax: limit('total_bytes_sec_max'),
  readBytesSecMax: limit('read_bytes_sec_max'),
  writeBytesSecMax: limit('write_bytes_sec_max'),
  totalIopsSecMax: limit('total_iops_sec_max'),
  readIopsSecMax: limit('read_iops_sec_max'),
  writeIopsSecMax: limit('write_iops_sec_max'),
  sizeIopsSec: limit('size_iops_sec'),
  groupName: childText('group_name', str({ max: 128 })),
  totalBytesSecMaxLength: limit('total_bytes_sec_max_length'),
  readBytesSecMaxLength: limit('read_bytes_sec_max_length'),
  writeBytesSecMaxLength: limit('write_bytes_sec_max_length'),
  totalIopsSecMaxLength: limit('total_iops_sec_max_length'),
  readIopsSecMaxLength: limit('read_iops_sec_max_length'),
  writeIopsSecMaxLength: limit('write_iops_sec_max_length'),
});

/** libvirt, "iotune": a total limit excludes the same limit for reads or writes. */
const iotuneCodec = checked(iotuneShape, (iotune, reader) => {
  for (const what of ['BytesSec', 'IopsSec'] as const)
    for (const kind of ['', 'Max', 'MaxLength'] as const) {
      const isSplit =
        iotune[`read${what}${kind}`] !== undefined || iotune[`write${what}${kind}`] !== undefined;
      if (isSplit && iotune[`total${what}${kind}`] !== undefined)
        reader.problem(reader.path, 'total limits and limits for reads or writes exclude each other');
    }
});
export type IoTune = Infer<typeof iotuneCodec>;

/** One of `<throttlegroups>`: limits that disks share by its name. */
const throttleGroupCodec = checked(iotuneShape, (group, reader) => {
  if (group.groupName === undefined) reader.problem(reader.at('group_name'), 'is missing');
});

/** A list in an element of its own, which is undefined where there is none. */
function listed<T>(name: string, inner: Field<T[]>): Field<readonly T[] | undefined> {
  const list = wrapped(name, inner);
  return {
    isAbsentSilent: true,
    read: (reader) => {
      const found = list.read(reader);
      return found.length === 0 ? undefined : found;
    },
    write: (element, value, options) => list.write(element, value === undefined ? [] : [...value], options),
  };
}

/** `<throttlegroups>` of a domain (libvirt 11.2). */
export const throttleGroups = listed('throttlegroups', children('throttlegroup', throttleGroupCodec));

/** `<throttlefilters>` of a disk: the names of the groups whose limits hold for it, all of them. */
const throttleFilters = listed(
  'throttlefilters',
  children('throttlefilter', object({ group: need('group', str({ max: 128 })) })),
);

const targetCodec = object({
  /** `vda`, `sdb`, `fda`: an order and a bus, not the name that the guest will use. */
  dev: need(
    'dev',
    matching(/^(ioemu:)?(fd|hd|sd|vd|xvd|ubd)[a-zA-Z0-9_]{1,32}$/, 'a disk name like vda or sdb'),
  ),
  bus: attr('bus', oneOf('ide', 'fdc', 'scsi', 'virtio', 'xen', 'usb', 'uml', 'sata', 'sd')),
  tray: attr('tray', oneOf('open', 'closed')),
  removable: attr('removable', onOff),
  rotationRate: attr('rotation_rate', uint({ min: 1, max: 65_535 })),
});

const shape = object({
  driver: child('driver', driverCodec),
  auth,
  source: diskSource,
  device: defaulted(attr('device', oneOf('disk', 'cdrom', 'floppy', 'lun')), 'disk'),
  model: attr('model', oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
  rawio: attr('rawio', yesNo),
  sgio: attr('sgio', oneOf('filtered', 'unfiltered')),
  snapshot: attr('snapshot', oneOf('no', 'internal', 'external', 'manual')),
  backingStore,
  geometry: child(
    'geometry',
    object({
      cylinders: need('cyls', uint({ max: 0xffff_ffff })),
      heads: need('heads', uint({ max: 0xffff_ffff })),
      sectors: need('secs', uint({ max: 0xffff_ffff })),
      translation: attr('trans', oneOf('auto', 'none', 'lba')),
    }),
  ),
  blockio: child(
    'blockio',
    object({
      logicalBlockBytes: attr('logical_block_size', uint({ max: 0xffff_ffff })),
      physicalBlockBytes: attr('physical_block_size', uint({ max: 0xffff_ffff })),
    }),
  ),
  mirror: live(mirror),
  target: required(child('target', targetCodec), 'target'),
  iotune: child('iotune', iotuneCodec),
  throttleFilters,
  readonly: flag('readonly'),
  shareable: flag('shareable'),
  transient: child('transient', object({ shareBacking: attr('shareBacking', yesNo) })),
  serial: childText(
    'serial',
    matching(/^[A-Za-z0-9_.+ -]{1,256}$/, 'a serial number (letters, digits, _ . + - and spaces)'),
  ),
  wwn: childText('wwn', matching(/^(0x)?[0-9a-fA-F]{16}$/, 'a WWN of 16 hexadecimal digits')),
  vendor: childText('vendor', matching(/^[ -~]{0,8}$/, 'at most 8 printable characters')),
  product: childText('product', matching(/^[ -~]{0,16}$/, 'at most 16 printable characters')),
  encryption,
  boot,
  ...common,
});

/** One disk; parts that its kind of device cannot have are refused. */
export const diskCodec = checked(shape, (disk, reader) => {
  onlyWith(disk, disk.device, { rawio: ['lun'], sgio: ['lun'] }, reader);
  if (disk.device === 'lun' && !['block', 'network', 'volume'].includes(disk.source.type))
    reader.problem(
      reader.at('type'),
      `'${disk.source.type}' does not go with device lun (block, network, volume do)`,
    );
});
export type Disk = Infer<typeof diskCodec>;
export type DiskBus = NonNullable<Disk['target']['bus']>;

/** The credentials of a disk's source, wherever the document gave them. */
export function authOf(disk: Disk): DiskAuth | undefined {
  return (disk.source.type === 'network' ? disk.source.auth : undefined) ?? disk.auth;
}

/** The encryption of a disk's source, wherever the document gave it. */
export function encryptionOf(disk: Disk): Encryption | undefined {
  return (disk.source.type === 'vhostuser' ? undefined : disk.source.encryption) ?? disk.encryption;
}

/** True when there is no medium or image: an empty drive. */
export function isEmptySource(source: DiskSource): boolean {
  switch (source.type) {
    case 'file':
      return source.file === undefined;
    case 'block':
      return source.dev === undefined;
    case 'dir':
      return source.dir === undefined;
    case 'volume':
      return source.pool === undefined;
    default:
      return false;
  }
}
