/**
 * The images below a disk's own: read from their headers before a start, since QEMU is told of each one and follows no
 * name by itself. An image's header may have been written by a guest, so it says nothing that is not checked here.
 */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { BackingStore, Disk } from '../../model/domain/devices/disk.ts';
import { encryptionOf, isEmptySource } from '../../model/domain/devices/disk.ts';
import type { DiskSource } from '../../model/domain/devices/source.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { formatOfDriver } from '../../model/storage/image-formats.ts';
import type { ImageHeader, ImageReader, OpenImage, VolumeFinder } from '../driver.ts';
import { openForReading } from './descriptors.ts';
import type { PassedGroups } from './passed-groups.ts';

/** The most images on top of each other (QEMU itself gets slow long before). */
const MAX_DEPTH = 200;

type Format = BackingStore['format']['type'];

/** Formats that can name other files, or are refused for what their header says. All others are never looked into. */
const inspected: readonly string[] = ['qcow2', 'qcow', 'qed', 'vmdk', 'vpc'] satisfies Format[];

/** One image, and where the definition has it. */
interface Image {
  readonly source: DiskSource;
  readonly format: string;
  /** `devices.disk[0].source` */
  readonly purpose: string;
  /** The definition says that it is encrypted, and with which secret. */
  readonly isEncrypted: boolean;
}

/** Who reads headers, and who knows the pools. */
interface ChainSources {
  readonly images: ImageReader;
  readonly volumes?: VolumeFinder;
}

/** One way down: what has been passed already. */
interface Walk {
  readonly domain: string;
  readonly images: ImageReader;
  readonly volumes: Pick<VolumeFinder, 'allowsBelow'> | undefined;
  readonly passed: PassedGroups | undefined;
  /** Device and inode of each image, to find loops. */
  readonly seen: Set<string>;
  depth: number;
}

/**
 * The definition with the whole chain of each disk, as it will be opened. What it says itself stays; where it says
 * nothing, the headers are followed. `passed`: what clients have handed over for it.
 * @throws VirtError definition.unsupported for an image that names something it may not, or is not of its format; file.*
 */
export async function followChains(
  definition: DomainDef,
  { images, volumes }: ChainSources,
  passed?: PassedGroups,
): Promise<DomainDef> {
  const disks: Disk[] = [];
  for (const [index, disk] of definition.devices.disks.entries()) {
    const seen = new Set<string>();
    const walk = { domain: definition.name, images, volumes, passed, seen, depth: 1 };
    disks.push(await followDisk(disk, `devices.disk[${index}]`, walk));
  }
  return { ...definition, devices: { ...definition.devices, disks } };
}

async function followDisk(disk: Disk, path: string, walk: Walk): Promise<Disk> {
  const { source } = disk;
  if (source.type === 'vhostuser' || isEmptySource(source) || disk.target.tray === 'open') return disk;
  const image = {
    ...{ source, format: disk.driver?.type ?? 'raw', purpose: `${path}.source` },
    isEncrypted: encryptionOf(disk) !== undefined,
  };
  return { ...disk, backingStore: await below(image, disk.backingStore, path, walk) };
}

/** What is below an image: what the definition says, or else what its header says. */
async function below(
  image: Image,
  given: BackingStore | null | undefined,
  path: string,
  walk: Walk,
): Promise<BackingStore | null> {
  if (walk.depth > MAX_DEPTH)
    throw refuse(walk, image, `more than ${MAX_DEPTH} images lie on top of each other`, 'merge some of them');
  const header = await inspect(image, given === undefined, walk);
  if (given === null) return null;
  const next = given ?? (header?.backing && (await backingStore(image, header.backing, walk)));
  if (next === undefined) return null;
  walk.depth++;
  const at = `${path}.backingStore`;
  const lower = {
    ...{ source: next.source, format: next.format.type, purpose: `${at}.source` },
    isEncrypted: next.source.type !== 'vhostuser' && next.source.encryption !== undefined,
  };
  return { ...next, backingStore: await below(lower, next.backingStore, at, walk) };
}

/** The header of an image that can be read here; undefined when there is nothing to be read. */
async function inspect(image: Image, isNeeded: boolean, walk: Walk): Promise<ImageHeader | undefined> {
  if (!inspected.includes(image.format)) return undefined;
  const { source } = image;
  const file = source.type === 'file' ? source.file : source.type === 'block' ? source.dev : undefined;
  if (file === undefined) {
    if (isNeeded) throw refuse(walk, image, 'what is below it cannot be read from here', sayItself);
    return undefined;
  }
  const handle = await openImage(image, file, walk);
  try {
    await refuseLoop(handle, image, walk);
    const offsetBytes = 'slices' in source ? (source.slices[0]?.offsetBytes ?? 0) : 0;
    const header = await walk.images.readHeader(handle, { format: image.format, offsetBytes });
    refuseHeader(header, image, walk);
    return header;
  } catch (error) {
    throw ofImage(error, image, file, walk);
  } finally {
    await handle.close();
  }
}

function openImage({ source, purpose }: Image, path: string, { passed }: Walk): Promise<OpenImage> {
  const group = source.type === 'file' ? source.fdgroup : undefined;
  if (group !== undefined && passed !== undefined) return Promise.resolve(passed.open(group));
  return openForReading({ path, purpose, device: source.type === 'block' });
}

const sayItself = 'write <backingStore/> into the disk if nothing is below, or else describe what is';

async function refuseLoop(handle: OpenImage, image: Image, walk: Walk): Promise<void> {
  const { dev, ino } = await handle.stat();
  const key = `${dev}:${ino}`;
  if (walk.seen.has(key))
    throw refuse(walk, image, 'the chain of images leads back to itself', 'see `qemu-img info -U`');
  walk.seen.add(key);
}

function refuseHeader(header: ImageHeader, image: Image, walk: Walk): void {
  if (header.dataFile !== undefined)
    throw refuse(
      walk,
      image,
      `its data is in another file (${header.dataFile === '' ? 'not named' : `'${header.dataFile}'`})`,
      'convert it with qemu-img to an image without data_file',
    );
  if (header.encryption === undefined || (image.isEncrypted && header.encryption === 'luks')) return;
  throw refuse(
    walk,
    image,
    `it is encrypted (${header.encryption})`,
    header.encryption === 'luks'
      ? "say with which secret: <encryption format='luks'><secret type='passphrase' uuid='...'/></encryption>"
      : 'convert it to an image with LUKS, or one that is not encrypted',
  );
}

/** The image that a header names, as a definition would have it. */
async function backingStore(
  image: Image,
  backing: NonNullable<ImageHeader['backing']>,
  walk: Walk,
): Promise<BackingStore> {
  const type = backingFormat(image, backing, walk);
  const path = await backingPath(image, backing.name, walk);
  await refuseElsewhere(image, path, walk);
  const stat = await statIfPresent(path).catch((error: unknown) => {
    throw fileError(error, `start '${walk.domain}'`, path);
  });
  const source: DiskSource =
    stat?.isBlockDevice() === true
      ? { type: 'block', dev: path, slices: [], seclabels: [] }
      : { type: 'file', file: path, slices: [], seclabels: [] };
  return { format: { type }, source };
}

/**
 * What only a header says is followed to files beside the image and into active pools, and nowhere else: whoever wrote
 * the header would have the daemon open any file of the host (docs/security.md, class J).
 */
async function refuseElsewhere(image: Image, path: string, walk: Walk): Promise<void> {
  const own = pathOf(image.source) ?? '';
  const directory = dirname(path);
  if (directory === dirname(own)) return;
  const real = await realOf(directory);
  if (real === (await realOf(dirname(own))) || real === dirname(await realOf(own))) return;
  const { volumes } = walk;
  if ((await volumes?.allowsBelow(directory)) === true || (await volumes?.allowsBelow(real)) === true) return;
  throw refuse(
    walk,
    image,
    `it names '${path}' as the image below it, which is neither beside it nor in an active pool`,
    'if you trust the image, describe what is below it as <backingStore> in the disk, or make a pool of that directory',
  );
}

/** The path without links on the way; as it is where nothing is. */
async function realOf(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}

/** A format is never guessed: a guest could have written anything into a raw image (docs/security.md, class J). */
function backingFormat(image: Image, backing: NonNullable<ImageHeader['backing']>, walk: Walk): Format {
  const { name, format } = backing;
  const known = format === undefined ? undefined : formatOfDriver(format);
  if (known !== undefined) return known;
  if (format !== undefined)
    throw refuse(walk, image, `it names the backing file '${name}' of unknown format '${format}'`, sayItself);
  throw refuse(
    walk,
    image,
    `it names the backing file '${name}', but not that file's format`,
    `record it with 'qemu-img rebase -u -b NAME -F FORMAT IMAGE', or describe it as <backingStore> in the disk`,
  );
}

/** The absolute path of a backing file; a relative name is meant from the directory of the image that names it. */
async function backingPath(image: Image, name: string, walk: Walk): Promise<string> {
  // As QEMU reads names (block.c, path_has_protocol): a colon before any slash ends a protocol. `json:{…}` is one, too.
  if (/^[^/]*:/.test(name))
    throw refuse(
      walk,
      image,
      `it names '${name}' as its backing file, which is no path`,
      'describe it as <backingStore> in the disk if that is what you want',
    );
  const { source } = image;
  const own = (source.type === 'file' ? source.file : source.type === 'block' ? source.dev : '') ?? '';
  const path = name.startsWith('/') ? name : `${dirname(own)}/${name}`;
  if (!path.split('/').includes('..')) return join(path);
  // Links in front of a `..` count; so this asks the kernel rather than cutting the text.
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    throw fileError(error, `start '${walk.domain}'`, path);
  }
}

function refuse(walk: Walk, image: Image, reason: string, hint: string): VirtError {
  const where = pathOf(image.source);
  return new VirtError('definition.unsupported', {
    wanted: `start '${walk.domain}'`,
    reason: `${image.purpose}: ${where === undefined ? '' : `${where}: `}${reason}`,
    hint,
    details: { problems: [{ path: image.purpose, message: reason }] },
  });
}

function pathOf(source: DiskSource): string | undefined {
  return source.type === 'file' ? source.file : source.type === 'block' ? source.dev : undefined;
}

/** What a header's reader finds wrong, with the image it was found in. */
function ofImage(error: unknown, image: Image, file: string, walk: Walk): VirtError {
  if (!(error instanceof VirtError)) return fileError(error, `start '${walk.domain}'`, file);
  if (error.wanted !== undefined) return error;
  return refuse(walk, image, error.reason, error.hint ?? 'see the image with `qemu-img check`');
}

/** The highest number that an image of the definition has; 0 without any. */
export function highestImage({ devices }: DomainDef): number {
  const below = (store: BackingStore | null | undefined): number =>
    store ? Math.max(store.index ?? 0, below(store.backingStore)) : 0;
  const numbers = devices.disks.map(({ source, backingStore }) =>
    Math.max(source.type === 'vhostuser' ? 0 : (source.index ?? 0), below(backingStore)),
  );
  return Math.max(0, ...numbers);
}

/**
 * The definition with a number for each image, as its block node will be called; live XML tells them so that a later
 * command can name one. Numbers that a client sent are of another run.
 */
export function numberImages(definition: DomainDef, first = 1): DomainDef {
  let next = first;
  const numbered = (store: BackingStore | null | undefined): BackingStore | null | undefined =>
    store ? { ...store, index: next++, backingStore: numbered(store.backingStore) } : store;
  const disks = definition.devices.disks.map((disk): Disk => {
    const { source } = disk;
    if (source.type === 'vhostuser' || isEmptySource(source) || disk.target.tray === 'open') return disk;
    return { ...disk, source: { ...source, index: next++ }, backingStore: numbered(disk.backingStore) };
  });
  return { ...definition, devices: { ...definition.devices, disks } };
}
