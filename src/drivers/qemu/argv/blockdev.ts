/** Chains of block nodes: -blockdev for each image's protocol and format, from the bottom to the top. */
import { formatPci } from '../../../model/domain/addresses/pci-map.ts';
import { authOf, type BackingStore, type Disk, encryptionOf } from '../../../model/domain/devices/disk.ts';
import type { DiskAuth, DiskSource, Encryption } from '../../../model/domain/devices/source.ts';
import { groupOfSource } from '../../../model/domain/disk-chain.ts';
import type { Build } from './context.ts';
import { networkSource } from './network-disk.ts';
import { isPassedDevice, passedAccess, passedFile } from './passed-file.ts';
import { addPassphrase } from './secret.ts';
import type { JsonObject } from './types.ts';

/** Numbers for node names: `libvirt-1-storage`, `libvirt-1-format`, unique in one command line. */
export class NodeNames {
  private next = 1;

  /** The number that the definition has for an image while it runs, or the next. */
  of(index: number | undefined): number {
    return index ?? this.next++;
  }
}

/** Formats by libvirt's name, with QEMU's driver and whether it can have a backing file. */
const formats: Readonly<Record<string, { readonly driver: string; readonly backing?: true }>> = {
  raw: { driver: 'raw' },
  luks: { driver: 'luks' },
  iso: { driver: 'raw' },
  aio: { driver: 'raw' },
  qcow2: { driver: 'qcow2', backing: true },
  qcow: { driver: 'qcow', backing: true },
  qed: { driver: 'qed', backing: true },
  vmdk: { driver: 'vmdk', backing: true },
  vdi: { driver: 'vdi' },
  vpc: { driver: 'vpc' },
  vhd: { driver: 'vhdx' },
  bochs: { driver: 'bochs' },
  cloop: { driver: 'cloop' },
  dmg: { driver: 'dmg' },
};

/** One image of a chain. */
interface Layer {
  readonly number: number;
  readonly source: DiskSource;
  readonly format: string;
  readonly readonly: boolean;
  /** Another image lies on it. */
  readonly isBelow: boolean;
  readonly path: string;
  readonly metadataCacheBytes: number | undefined;
  readonly auth: DiskAuth | undefined;
  readonly encryption: Encryption | undefined;
  /** The definition says nothing of what is below: neither an image nor an end. */
  readonly unknownBacking: boolean;
}

/**
 * Adds all nodes of a disk; the answer is the name of the topmost one. The chain below is exactly the one in the
 * definition: QEMU never follows a backing file name by itself, as it could not open it.
 */
export function buildDiskNodes(b: Build, disk: Disk, path: string, names: NodeNames): string {
  const layers = layersOf(disk, path, names);
  let below: string | null = null;
  for (const layer of layers.toReversed()) below = buildLayer(b, disk, layer, below);
  return withCopyOnRead(b, disk, below ?? '', path, layers[0]?.number ?? 0);
}

/** The images of a chain from the top down. */
function layersOf(disk: Disk, path: string, names: NodeNames): Layer[] {
  const layers: Layer[] = [
    {
      number: names.of(disk.source.type === 'vhostuser' ? undefined : disk.source.index),
      source: disk.source,
      format: disk.driver?.type ?? 'raw',
      readonly: isReadonly(disk),
      isBelow: false,
      path: `${path}.source`,
      metadataCacheBytes: disk.driver?.metadataCacheBytes,
      auth: authOf(disk),
      encryption: encryptionOf(disk),
      unknownBacking: disk.backingStore === undefined,
    },
  ];
  let at = path;
  for (let next: BackingStore | null | undefined = disk.backingStore; next; next = next.backingStore) {
    at = `${at}.backingStore`;
    layers.push({
      number: names.of(next.index),
      source: next.source,
      format: next.format.type,
      readonly: true,
      isBelow: true,
      path: `${at}.source`,
      metadataCacheBytes: next.format.metadataCacheBytes,
      auth: next.source.type === 'network' ? next.source.auth : undefined,
      encryption: next.source.type === 'vhostuser' ? undefined : next.source.encryption,
      unknownBacking: next.backingStore === undefined,
    });
  }
  return layers;
}

/** CD-ROMs are read-only whatever the definition says. */
export function isReadonly(disk: Disk): boolean {
  return disk.readonly === true || disk.device === 'cdrom';
}

function buildLayer(b: Build, disk: Disk, layer: Layer, below: string | null): string {
  const format = formats[layer.format];
  if (format === undefined) b.problem(layer.path, `format '${layer.format}' is not supported`);
  needDriver(b, layer.path, format?.driver ?? 'raw');
  if (below !== null && !format?.backing)
    b.problem(layer.path, `an image of format '${layer.format}' has no backing store`);
  const name = `libvirt-${layer.number}-format`;
  const locked = encrypted(b, layer, name);
  const storage = slice(b, layer, buildStorage(b, disk, layer));
  b.json('-blockdev', {
    'node-name': name,
    'read-only': layer.readonly,
    discard: layer.readonly ? undefined : disk.driver?.discard,
    'detect-zeroes': detectZeroes(b, disk, layer),
    cache: cacheOf(disk),
    driver: format?.driver ?? 'raw',
    ...locked,
    file: storage,
    backing: format?.backing ? below : undefined,
    'cache-size': format?.driver === 'qcow2' ? layer.metadataCacheBytes : undefined,
  });
  return name;
}

/** LUKS is a format of its own around raw data, and a property of qcow2 (QEMU docs, system/qemu-block-drivers). */
function encrypted(b: Build, { encryption, format, path }: Layer, node: string): JsonObject {
  if (encryption === undefined) return {};
  const secret = addPassphrase(b, encryption, { node, path });
  if (format === 'qcow2') return { encrypt: { format: 'luks', 'key-secret': secret } };
  if (format !== 'raw' && format !== 'luks')
    b.problem(`${path}.encryption`, `does not go with format '${format}'; raw and qcow2 do`);
  needDriver(b, path, 'luks');
  return { driver: 'luks', 'key-secret': secret };
}

function needDriver(b: Build, path: string, driver: string): void {
  if (!b.hasSchema(`blockdev-add/arg-type/driver/^${driver}`)) b.lacks(path, `block driver '${driver}'`);
}

/** unmap needs discard=unmap on the same node (QEMU docs, blockdev-add). */
function detectZeroes(b: Build, disk: Disk, layer: Layer): string | undefined {
  const wanted = disk.driver?.detectZeroes;
  if (layer.readonly || wanted === undefined || wanted === 'off') return undefined;
  return wanted === 'unmap' && disk.driver?.discard !== 'unmap' ? 'on' : wanted;
}

const caches = {
  none: { direct: true, 'no-flush': false },
  directsync: { direct: true, 'no-flush': false },
  writeback: { direct: false, 'no-flush': false },
  writethrough: { direct: false, 'no-flush': false },
  unsafe: { direct: false, 'no-flush': true },
} as const;

/** What a cache mode means below the device; whether the device itself caches writes is its `write-cache`. */
function cacheOf(disk: Disk): JsonObject | undefined {
  const mode = disk.driver?.cache;
  return mode === undefined || mode === 'default' ? undefined : caches[mode];
}

function buildStorage(b: Build, disk: Disk, layer: Layer): string {
  const name = `libvirt-${layer.number}-storage`;
  const protocol = protocolOf(b, disk, layer);
  needDriver(b, layer.path, protocol.driver);
  b.json('-blockdev', {
    ...protocol,
    'node-name': name,
    ...access(b, layer, protocol.driver),
    discard: 'unmap',
    cache: cacheOf(disk),
  });
  return name;
}

/**
 * The file of an image below another is read-only as long as nobody writes to that image: a commit does, and then QEMU
 * looks among the descriptors it has for one that allows it (drivers/qemu/block-jobs/nodes.ts).
 */
function access(b: Build, layer: Layer, driver: string): JsonObject {
  const group = groupOfSource(layer.source);
  if (group !== undefined) return passedAccess(b, layer, group);
  const isLocal = driver === 'file' || driver === 'host_device';
  return layer.isBelow && isLocal ? { 'auto-read-only': true } : { 'read-only': layer.readonly };
}

/** The lowest node: where the bytes are. */
function protocolOf(b: Build, disk: Disk, layer: Layer): JsonObject & { readonly driver: string } {
  const { source, path } = layer;
  refuseSource(b, source, path);
  switch (source.type) {
    case 'file':
      return {
        driver: source.fdgroup !== undefined && isPassedDevice(b, source.fdgroup) ? 'host_device' : 'file',
        filename:
          source.fdgroup === undefined
            ? openFile(b, disk, layer, source.file ?? '', false)
            : passedFile(b, layer, source.fdgroup, { direct: cacheOf(disk)?.direct === true }),
        aio: aio(b, disk, path),
      };
    case 'block':
      return {
        driver: 'host_device',
        filename: openFile(b, disk, layer, source.dev ?? '', true),
        aio: aio(b, disk, path),
      };
    case 'network':
      return networkSource(b, source, { path, node: `libvirt-${layer.number}-storage`, auth: layer.auth });
    case 'nvme':
      return { driver: 'nvme', device: formatPci(source.address), namespace: source.namespace };
    case 'dir':
    case 'volume':
    case 'vhostuser':
      b.problem(path, `type '${source.type}' is not supported here`);
      return { driver: 'null-co' };
  }
}

function openFile(b: Build, disk: Disk, layer: Layer, file: string, device: boolean): string {
  const policy = 'startupPolicy' in layer.source ? layer.source.startupPolicy : undefined;
  return b.file(file, layer.readonly ? 'ro' : 'rw', layer.path, {
    ...(device && { device }),
    ...(cacheOf(disk)?.direct === true && { direct: true }),
    ...(policy === 'optional' && { optional: true }),
    ...(layer.unknownBacking && formats[layer.format]?.backing && { unknownBacking: layer.format }),
  });
}

/** Native AIO works on O_DIRECT alone (QEMU block/file-posix.c refuses it otherwise). */
function aio(b: Build, disk: Disk, path: string): string | undefined {
  const mode = disk.driver?.io;
  if (mode === 'native' && cacheOf(disk)?.direct !== true)
    b.problem(path, `io='native' needs cache='none' or cache='directsync'`);
  if (mode === 'io_uring' && !b.hasSchema('blockdev-add/arg-type/+file/aio/^io_uring'))
    b.lacks(path, `aio mode 'io_uring'`);
  return mode;
}

function refuseSource(b: Build, source: DiskSource, path: string): void {
  if ('reservations' in source) b.refuse(path, { reservations: source.reservations });
  if ('seclabels' in source)
    b.refuse(
      path,
      { seclabel: source.seclabels.filter((label) => label.relabel !== false) },
      'no security driver is there',
    );
}

/** A part of the storage as a node of its own: raw with offset and size. */
function slice(b: Build, layer: Layer, storage: string): string {
  const slices = 'slices' in layer.source ? layer.source.slices : [];
  const [first] = slices;
  if (first === undefined) return storage;
  if (slices.length > 1) b.problem(`${layer.path}.slices`, 'only one slice is supported');
  const name = `libvirt-${layer.number}-slice-sto`;
  b.json('-blockdev', {
    driver: 'raw',
    'node-name': name,
    offset: first.offsetBytes,
    size: first.sizeBytes,
    file: storage,
    'read-only': layer.readonly,
    discard: 'unmap',
  });
  return name;
}

function withCopyOnRead(b: Build, disk: Disk, below: string, path: string, number: number): string {
  if (!disk.driver?.copyOnRead) return below;
  if (isReadonly(disk)) {
    b.problem(`${path}.driver.copy_on_read`, 'needs a disk that can be written');
    return below;
  }
  const name = `libvirt-${number}-cor`;
  b.json('-blockdev', { driver: 'copy-on-read', 'node-name': name, file: below });
  return name;
}
