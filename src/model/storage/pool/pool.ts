/** A storage pool's definition: its type, and libvirt's XML for it, each element declared once. */
import {
  attr,
  child,
  childAttr,
  childText,
  type FormatOptions,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  required,
  throwProblems,
  writeElement,
} from '../../../base/xml/codec.ts';
import { parseXml } from '../../../base/xml/parse.ts';
import { oneOf, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { formatXml } from '../../../base/xml/tree.ts';
import { bytesRule, size } from '../../domain/devices/combinators.ts';
import { nameProblem } from '../../domain/names.ts';
import { plainPath, poolName } from '../names.ts';
import { permissions } from '../permissions.ts';
import { declarePoolPrefixes, mountOptions, normalizePoolPrefixes, rbdOptions } from './namespaces.ts';
import { withoutPlaceholders } from './placeholders.ts';
import { type PoolSource, source, sourceDocument } from './source.ts';

/** Every type that libvirt knows. Which of them work here is told by the backends (src/storage/backends). */
export const poolTypes = [
  'dir',
  'fs',
  'netfs',
  'logical',
  'disk',
  'iscsi',
  'iscsi-direct',
  'scsi',
  'mpath',
  'rbd',
  'sheepdog',
  'gluster',
  'zfs',
  'vstorage',
] as const;
export type PoolType = (typeof poolTypes)[number];

/** The order is the one in which libvirt prints. */
const poolCodec = object({
  type: required(attr('type', oneOf(...poolTypes)), 'type'),
  name: childText('name', poolName),
  uuid: childText('uuid', uuidText),
  /** Sizes of an active pool; what a document says of them means nothing. */
  capacityBytes: child('capacity', size(bytesRule)),
  allocationBytes: child('allocation', size(bytesRule)),
  availableBytes: child('available', size(bytesRule)),
  features: child('features', object({ cow: childAttr('cow', 'state', yesNo) })),
  source,
  target: child('target', object({ path: childText('path', plainPath), permissions })),
  refresh: child(
    'refresh',
    object({
      volume: child('volume', object({ allocation: attr('allocation', oneOf('default', 'capacity')) })),
    }),
  ),
  mountOptions,
  rbdOptions,
});

type ParsedPool = Infer<typeof poolCodec>;

/** A pool as its definition tells it. What the document left out is absent until `applyPoolDefaults`. */
export type PoolDef = Omit<ParsedPool, 'name' | 'capacityBytes' | 'allocationBytes' | 'availableBytes'> & {
  readonly name: string;
};

/** A definition with its defaults: what it must have to be stored. */
export type CompletePoolDef = PoolDef & { readonly uuid: string };

/** Sizes of an active pool, all in bytes. */
export interface PoolSpace {
  readonly capacityBytes: number;
  readonly allocationBytes: number;
  readonly availableBytes: number;
}

/** Types whose name, when it is left out, is that of their source. */
const namedBySource: readonly PoolType[] = ['logical', 'rbd', 'sheepdog', 'gluster', 'zfs', 'vstorage'];

/**
 * Reads a definition.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`.
 */
export function parsePool(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: PoolDef; readonly dropped: readonly string[] } {
  const root = withoutPlaceholders(normalizePoolPrefixes(parseXml(xml)));
  const { value, dropped } = readDocument(poolCodec, root, 'pool', {
    mode: options.mode,
    what: 'storage pool definition',
  });
  const { capacityBytes: _c, allocationBytes: _a, availableBytes: _v, ...definition } = value;
  return { definition: { ...definition, name: nameOf(value) }, dropped };
}

function nameOf(pool: ParsedPool): string {
  const name = pool.name ?? (namedBySource.includes(pool.type) ? pool.source?.name : undefined);
  const problem = name === undefined ? 'is missing' : nameProblem(name);
  if (problem !== undefined)
    throwProblems([{ path: 'name', message: problem }], 'read the storage pool definition');
  return name ?? '';
}

/** Prints a definition as libvirt does; sizes are written for an active pool. */
export function formatPool(
  definition: PoolDef,
  options: FormatOptions & { readonly space?: PoolSpace | undefined } = {},
): string {
  const { space, ...rest } = options;
  return formatXml(declarePoolPrefixes(writeElement(poolCodec, 'pool', { ...definition, ...space }, rest)));
}

/**
 * Reads what a client says of where to look for sources: `<source>` alone.
 * @throws VirtError xml.malformed, xml.invalid
 */
export function parsePoolSource(xml: string, options: { readonly mode: ParseMode }): PoolSource {
  const what = 'specification of storage pool sources';
  return readDocument(sourceDocument, parseXml(xml), 'source', { mode: options.mode, what }).value;
}

/** Prints what was found, as libvirt's `<sources>` document. */
export function formatPoolSources(sources: readonly PoolSource[]): string {
  const found = sources.map((one) => formatXml(writeElement(sourceDocument, 'source', one)));
  if (found.length === 0) return '<sources/>\n';
  const indented = found.join('').replace(/^(?=.)/gm, '  ');
  return `<sources>\n${indented}</sources>\n`;
}
