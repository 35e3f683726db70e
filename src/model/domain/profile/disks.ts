/** The disks and drives of a new guest, with names and boot order. */
import { VirtError } from '../../../base/errors.ts';
import type { BackingStore, Disk } from '../devices/disk.ts';
import { type Encryption, storageFormat } from '../devices/source.ts';
import type { DomainSpec, SpecDisk, SpecFacts } from '../profile.ts';
import type { Board } from './board.ts';

type Bus = NonNullable<Disk['target']['bus']>;

/** The disks in the order given, then the CD-ROM drive, which boots first. */
export function buildDisks(spec: DomainSpec, board: Board, facts: SpecFacts): Disk[] {
  const all: SpecDisk[] = [...spec.disks];
  if (spec.cdrom !== undefined)
    all.push({ path: spec.cdrom, format: 'raw', deviceType: 'cdrom', readonly: true });
  const names = new Map<string, number>();
  const disks = all.map((disk) => buildDisk(disk, board, facts, names));
  if (spec.kernel === undefined) setBootOrder(disks, spec.cdrom === undefined ? undefined : disks.at(-1));
  return disks;
}

/** One more disk for a domain that has others: under the next free name, on virtio unless it says otherwise. */
export function buildNextDisk(disk: SpecDisk, taken: readonly string[]): Disk {
  const bus = disk.bus ?? 'virtio';
  let dev = '';
  const names = new Map<string, number>();
  do dev = nextName(bus, names);
  while (taken.includes(dev));
  return plainDisk(disk, { bus, dev }, { hostArch: '', uid: 0 });
}

/** The CD-ROM that was asked for, then the first disk. */
function setBootOrder(disks: Disk[], cdrom: Disk | undefined): void {
  const disk = disks.find((one) => one.device === 'disk') ?? disks[0];
  let order = 1;
  for (const one of new Set([cdrom, disk])) if (one !== undefined) one.boot = { order: order++ };
}

function buildDisk(disk: SpecDisk, board: Board, facts: SpecFacts, names: Map<string, number>): Disk {
  const bus = busOf(disk, board);
  return plainDisk(disk, { bus, dev: nextName(bus, names) }, facts);
}

function plainDisk(disk: SpecDisk, target: Disk['target'], facts: SpecFacts): Disk {
  const device = disk.deviceType ?? 'disk';
  const isReadonly = disk.readonly === true || device === 'cdrom';
  return {
    source: sourceOf(disk, facts),
    device,
    // Freed blocks go back to the host, as the guest would expect of a real disk with TRIM.
    driver: {
      name: 'qemu',
      type: formatOf(disk),
      ...(!isReadonly && device === 'disk' && { discard: 'unmap' }),
    },
    target,
    ...(disk.below && { backingStore: belowOf(disk.below, facts) }),
    ...(isReadonly && { readonly: true }),
  };
}

function belowOf(below: Pick<SpecDisk, 'path' | 'format'>, facts: SpecFacts): BackingStore {
  return { format: { type: formatOf(below) }, source: sourceOf(below, facts) };
}

function busOf(disk: SpecDisk, board: Board): Bus {
  if (disk.deviceType === 'floppy') return 'fdc';
  const bus = disk.bus ?? (disk.deviceType === 'cdrom' ? board.cdromBus : 'virtio');
  if (disk.deviceType === 'cdrom' && bus === 'virtio')
    throw new VirtError('request.invalid', {
      wanted: `use ${disk.path} as a CD-ROM`,
      reason: 'a CD-ROM cannot sit on virtio',
      hint: `use ${board.cdromBus}`,
    });
  return bus;
}

/** @throws VirtError definition.unsupported for a format that libvirt's XML has no word for */
function formatOf(disk: Pick<SpecDisk, 'path' | 'format'>): BackingStore['format']['type'] {
  try {
    return storageFormat.parse(disk.format);
  } catch (cause) {
    throw new VirtError('definition.unsupported', {
      wanted: `use the disk ${disk.path}`,
      reason: `a definition has no word for the format '${disk.format.slice(0, 40)}'`,
      hint: `convert it: qemu-img convert -O qcow2 ${disk.path} …`,
      cause,
    });
  }
}

function sourceOf({ path, volume, secret }: SpecDisk, facts: SpecFacts): Disk['source'] {
  const encryption: Encryption | undefined = secret && {
    format: 'luks',
    secrets: [{ type: 'passphrase', ...secret }],
  };
  const common = { slices: [], seclabels: [], ...(encryption && { encryption }) };
  if (volume !== undefined) return { type: 'volume', pool: volume.pool, volume: volume.name, ...common };
  const isBlock = facts.isBlockDevice?.(path) ?? (path.startsWith('/dev/') && !path.startsWith('/dev/shm/'));
  return isBlock ? { type: 'block', dev: path, ...common } : { type: 'file', file: path, ...common };
}

const prefixes: Readonly<Partial<Record<Bus, string>>> = { virtio: 'vd', ide: 'hd', fdc: 'fd' };

/** vda, vdb, ... vdz, vdaa: sata, scsi and usb count on together. */
function nextName(bus: Bus, names: Map<string, number>): string {
  const prefix = prefixes[bus] ?? 'sd';
  const index = names.get(prefix) ?? 0;
  names.set(prefix, index + 1);
  return prefix + letters(index);
}

/** a to z, aa, ab, ...: the way Linux counts disks. */
function letters(index: number): string {
  const last = String.fromCharCode(97 + (index % 26));
  return index < 26 ? last : letters(Math.floor(index / 26) - 1) + last;
}
