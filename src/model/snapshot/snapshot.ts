/** A snapshot's definition: libvirt's <domainsnapshot> document, each element declared once. */
import {
  attr,
  child,
  children,
  childText,
  custom,
  type ElementCodec,
  type Field,
  flag,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  wrapped,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { longText, matching, oneOf, path, uint } from '../../base/xml/scalars.ts';
import { childOf, formatXml, isElement, type XmlElement, xmlElement } from '../../base/xml/tree.ts';
import { checked, need } from '../domain/devices/combinators.ts';
import { metadataCache } from '../domain/devices/disk.ts';
import { type DiskSource, diskSource, storageFormat } from '../domain/devices/source.ts';
import { type DomainDef, embeddedDomain } from '../domain/domain.ts';
import { snapshotName } from './name.ts';

/** What the guest was doing; `disk-snapshot`: it ran, and its memory was not kept (libvirt, "Snapshot XML format"). */
export const snapshotStates = [
  'running',
  'paused',
  'shutoff',
  'disk-snapshot',
  'blocked',
  'shutdown',
  'crashed',
  'pmsuspended',
] as const;
export type SnapshotState = (typeof snapshotStates)[number];

/** Where the state of a disk is kept: inside its image, by a new image on top of it, not at all, or by somebody else. */
export const snapshotLocations = ['no', 'internal', 'external', 'manual'] as const;
export type SnapshotLocation = (typeof snapshotLocations)[number];

/** A source is there when the document names one: most disks of a snapshot have none. */
const sourceIfGiven: Field<DiskSource | undefined> = custom(
  (reader) => {
    const type = reader.attr('type');
    if (type === undefined && childOf(reader.element, 'source') === undefined) return undefined;
    return diskSource.read(reader);
  },
  (element, value, options) => {
    if (value !== undefined) diskSource.write(element, value, options);
  },
);

const diskShape = object({
  /** Target (`vda`), or the path of the image. */
  name: need('name', matching(/^[^\p{Cc}]{1,1024}$/u, 'the target of a disk, or the path of its image')),
  snapshot: attr('snapshot', oneOf(...snapshotLocations)),
  /** Written while an external snapshot is being merged: its state is not to be had any more. */
  deleteInProgress: flag('snapshotDeleteInProgress'),
  driver: child('driver', object({ type: attr('type', storageFormat), metadataCacheBytes: metadataCache() })),
  /** The new image on top, of an external snapshot. */
  source: sourceIfGiven,
});

const diskCodec = checked(diskShape, (disk, reader) => {
  if (disk.source?.type === 'volume' || disk.source?.type === 'dir')
    reader.problem(reader.at('type'), `a snapshot cannot be of type '${disk.source.type}'`);
});

/** One disk of a snapshot. */
export type SnapshotDisk = Infer<typeof diskCodec>;

const memoryCodec = object({
  snapshot: attr('snapshot', oneOf('no', 'internal', 'external')),
  /** The file with the memory of an external snapshot. */
  file: attr('file', path),
});

/** What libvirt keeps for itself (the CPU that a guest had); kept and written as it came. */
const cookie: Field<XmlElement | undefined> = custom(
  (reader) => reader.child('cookie'),
  (element, value) => {
    if (value !== undefined) element.children.push(value);
  },
);

const shape = object({
  name: childText('name', snapshotName),
  description: childText('description', longText(65_536)),
  state: childText('state', oneOf(...snapshotStates)),
  parent: child('parent', object({ name: childText('name', snapshotName) })),
  /** Seconds since 1970. */
  creationTime: childText('creationTime', uint()),
  memory: child('memory', memoryCodec),
  disks: wrapped('disks', children('disk', diskCodec)),
  /** The definition as the guest ran, or as it was stored when it did not. */
  domain: embeddedDomain('domain'),
  /** The stored definition of a guest that ran. */
  inactiveDomain: embeddedDomain('inactiveDomain'),
  cookie,
  /** libvirt's own files say here whether it is the current one. */
  active: childText('active', uint({ max: 1 })),
});

/** As libvirt: a file means external, external means a file. */
const snapshotCodec: ElementCodec<SnapshotDef> = checked(shape, ({ memory }, reader) => {
  if (memory?.file !== undefined && memory.snapshot !== undefined && memory.snapshot !== 'external')
    reader.problem(reader.at('memory.file'), 'needs an external snapshot of the memory');
  if (memory?.snapshot === 'external' && memory.file === undefined)
    reader.problem(reader.at('memory.file'), 'is missing for an external snapshot of the memory');
});

/** A snapshot as its document tells it. */
export type SnapshotDef = Infer<typeof shape>;

/** A snapshot as it is kept: nothing that matters is left out. `domain` is missing in some that libvirt made long ago. */
export type Snapshot = SnapshotDef & {
  readonly name: string;
  readonly state: SnapshotState;
  readonly creationTime: number;
};

/**
 * Reads a document.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`
 */
export function parseSnapshot(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: SnapshotDef; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(snapshotCodec, parseXml(xml), 'domainsnapshot', {
    mode: options.mode,
    what: 'snapshot',
  });
  return { definition: value, dropped };
}

/**
 * Prints a snapshot as libvirt does; `uuid` is that of its domain, for one without a definition in it.
 * `secure`: with passwords.
 */
export function formatSnapshot(
  definition: SnapshotDef,
  options: { readonly secure?: boolean; readonly uuid?: string } = {},
): string {
  const root = writeElement(snapshotCodec, 'domainsnapshot', definition, {
    inactive: true,
    secure: options.secure ?? false,
  });
  if (definition.domain === undefined && options.uuid !== undefined) {
    const uuid = xmlElement('uuid', [], [options.uuid]);
    const at = root.children.findIndex((node) => isElement(node) && afterDomain.has(node.name));
    root.children.splice(at === -1 ? root.children.length : at, 0, xmlElement('domain', [], [uuid]));
  }
  return formatXml(root);
}

const afterDomain: ReadonlySet<string> = new Set(['inactiveDomain', 'cookie', 'active']);

/** Where a disk's state was kept, by its target. */
export function locationOf({ disks }: SnapshotDef, target: string): SnapshotLocation {
  return disks.find(({ name }) => name === target)?.snapshot ?? 'no';
}

/** True when any part of it is outside the disks' own images. */
export function isExternal({ memory, disks }: SnapshotDef): boolean {
  return memory?.snapshot === 'external' || disks.some(({ snapshot }) => snapshot === 'external');
}

/** True when it holds what the guest's memory was. */
export function hasMemory({ state }: Pick<Snapshot, 'state'>): boolean {
  return state === 'running' || state === 'paused';
}

/** The definition that is stored after a return to it. */
export function storedDomainOf({ domain, inactiveDomain }: SnapshotDef): DomainDef | undefined {
  return inactiveDomain ?? domain;
}
