/** A storage volume as libvirt's XML describes it, each element declared once. */
import {
  attr,
  child,
  children,
  childText,
  defaulted,
  flag,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  required,
  writeElement,
} from '../../../base/xml/codec.ts';
import { parseXml } from '../../../base/xml/parse.ts';
import { matching, oneOf, str, uint } from '../../../base/xml/scalars.ts';
import { formatXml } from '../../../base/xml/tree.ts';
import { bytesRule, need, size } from '../../domain/devices/combinators.ts';
import { encryption, storageFormatNames } from '../../domain/devices/source.ts';
import { fileSystems } from '../file-systems.ts';
import { plainPath, volumeName } from '../names.ts';
import { permissions, timestamps } from '../permissions.ts';

/** What a volume is for the host. */
export const volumeTypes = ['file', 'block', 'dir', 'network', 'netdir'] as const;
export type VolumeType = (typeof volumeTypes)[number];

/** Formats of volumes: of files, of file systems on a device, and of partitions (storagevol.rng). */
export const volumeFormats = [
  'unknown',
  ...storageFormatNames,
  'none',
  ...fileSystems,
  'linux',
  'fat16',
  'fat32',
  'linux-swap',
  'linux-lvm',
  'linux-raid',
  'extended',
] as const;
export type VolumeFormat = (typeof volumeFormats)[number];

/** Ways to overwrite a volume (virStorageVolWipeAlgorithm); the names are libvirt's. */
export const wipeAlgorithms = [
  'zero',
  'nnsa',
  'dod',
  'bsi',
  'gutmann',
  'schneier',
  'pfitzner7',
  'pfitzner33',
  'random',
  'trim',
] as const;
export type WipeAlgorithm = (typeof wipeAlgorithms)[number];

const format = child('format', object({ type: need('type', oneOf(...volumeFormats)) }));

const extent = object({ start: need('start', uint()), end: need('end', uint()) });

/** Where it lies on its devices, in bytes; told of volumes of logical and disk pools, and of no meaning in a document. */
const source = child(
  'source',
  object({
    devices: children(
      'device',
      object({ path: need('path', plainPath), extents: children('extent', extent, 65_536) }),
      4096,
    ),
  }),
);

const sized = child('clusterSize', size(bytesRule));

const targetCodec = object({
  path: childText('path', str({ min: 1, max: 4096 })),
  format,
  permissions,
  timestamps,
  encryption,
  /** Version of qcow2: `0.10` or `1.1`. */
  compat: childText('compat', matching(/^\d{1,3}\.\d{1,3}$/, 'a version like 1.1')),
  nocow: flag('nocow'),
  clusterSizeBytes: sized,
  features: child(
    'features',
    object({ lazyRefcounts: flag('lazy_refcounts'), extendedL2: flag('extended_l2') }),
  ),
});
export type VolumeTarget = Infer<typeof targetCodec>;

const backingCodec = object({
  path: required(childText('path', plainPath), 'path'),
  format,
  permissions,
  timestamps,
});

/** The order is the one in which libvirt prints. */
const volumeCodec = object({
  type: attr('type', oneOf(...volumeTypes)),
  name: required(childText('name', volumeName), 'name'),
  key: childText('key', str({ max: 4096 })),
  source,
  capacityBytes: child('capacity', size(bytesRule)),
  allocationBytes: child('allocation', size(bytesRule)),
  physicalBytes: child('physical', size(bytesRule)),
  target: defaulted(child('target', targetCodec), {}),
  backingStore: child('backingStore', backingCodec),
});

/** A volume as a document tells it. */
export type VolumeDef = Infer<typeof volumeCodec>;

/**
 * Reads a volume document.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`.
 */
export function parseVolume(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: VolumeDef; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(volumeCodec, parseXml(xml), 'volume', {
    mode: options.mode,
    what: 'storage volume description',
  });
  return { definition: value, dropped };
}

/** Prints a volume as libvirt does. */
export function formatVolume(volume: VolumeDef): string {
  return formatXml(writeElement(volumeCodec, 'volume', volume));
}
