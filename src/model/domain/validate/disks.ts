/** Disks: names, buses, media and the options that go with them. */
import type { Problem } from '../../../base/errors.ts';
import { type Disk, isEmptySource } from '../devices/disk.ts';
import type { DomainDef } from '../domain.ts';
import { repeated } from './unique.ts';

export function diskProblems({ devices, throttleGroups = [] }: DomainDef): Problem[] {
  const names = devices.disks.map((disk, i) => ({
    path: `devices.disk[${i}].target.dev`,
    key: disk.target.dev,
  }));
  return [
    ...repeated(names, (dev, first) => `'${dev}' is taken by ${first}`),
    ...repeated(
      throttleGroups.map(({ groupName = '' }, i) => ({
        path: `throttlegroups.throttlegroup[${i}].group_name`,
        key: groupName,
      })),
      (name, first) => `'${name}' is taken by ${first}`,
    ),
    ...devices.disks.flatMap((disk, i) => filterProblems(disk, `devices.disk[${i}]`, throttleGroups)),
    ...devices.disks.flatMap((disk, i) =>
      rules
        .filter((rule) => rule.broken(disk))
        .map((rule) => ({ path: `devices.disk[${i}].${rule.path}`, message: rule.message })),
    ),
  ];
}

/** A disk's groups are those of the domain (libvirt, domain_validate.c). */
function filterProblems(
  { throttleFilters = [] }: Disk,
  path: string,
  groups: NonNullable<DomainDef['throttleGroups']>,
): Problem[] {
  return throttleFilters
    .filter(({ group }) => !groups.some(({ groupName }) => groupName === group))
    .map(({ group }) => ({
      path: `${path}.throttlefilters`,
      message: `throttle group '${group}' not found: <throttlegroups> has none of that name`,
    }));
}

interface Rule {
  readonly path: string;
  readonly message: string;
  readonly broken: (disk: Disk) => boolean;
}

const isRemovable = (disk: Disk): boolean => disk.device === 'cdrom' || disk.device === 'floppy';
const onBus = (disk: Disk, ...buses: readonly string[]): boolean =>
  disk.target.bus === undefined || buses.includes(disk.target.bus);

/** Each rule is one sentence about one disk. Sources: formatdomain "Hard drives, floppy disks, CDROMs", QEMU's devices. */
const rules: readonly Rule[] = [
  {
    path: 'throttlefilters',
    message: 'do not go with iotune',
    broken: (disk) => disk.throttleFilters !== undefined && disk.iotune !== undefined,
  },
  {
    path: 'throttlefilters',
    message: 'a drive whose medium changes has none; use a disk',
    broken: (disk) => disk.throttleFilters !== undefined && isRemovable(disk),
  },
  {
    path: 'target.bus',
    message: 'a floppy needs the bus fdc',
    broken: (disk) => disk.device === 'floppy' && !onBus(disk, 'fdc'),
  },
  {
    path: 'target.bus',
    message: 'the bus fdc is for floppies only',
    broken: (disk) => disk.device !== 'floppy' && disk.target.bus === 'fdc',
  },
  {
    path: 'target.bus',
    message: 'a CD-ROM cannot sit on virtio; use sata, scsi, ide or usb',
    broken: (disk) => disk.device === 'cdrom' && disk.target.bus === 'virtio',
  },
  {
    path: 'target.bus',
    message: 'a LUN needs the bus scsi or virtio',
    broken: (disk) => disk.device === 'lun' && !onBus(disk, 'scsi', 'virtio'),
  },
  {
    path: 'source',
    message: 'is missing; only CD-ROM and floppy drives may be empty',
    broken: (disk) => !isRemovable(disk) && isEmptySource(disk.source),
  },
  {
    path: 'source.startupPolicy',
    message: "is for CD-ROM and floppy drives ('optional' for any local disk)",
    broken: (disk) => {
      const policy = 'startupPolicy' in disk.source ? disk.source.startupPolicy : undefined;
      return policy === 'requisite' && !isRemovable(disk);
    },
  },
  {
    path: 'driver.io',
    message: "'native' needs cache 'none' or 'directsync'",
    broken: ({ driver }) =>
      driver?.io === 'native' && driver.cache !== 'none' && driver.cache !== 'directsync',
  },
  {
    path: 'driver.copy_on_read',
    message: 'a read-only disk cannot copy on read',
    broken: (disk) => disk.driver?.copyOnRead === true && disk.readonly === true,
  },
  {
    path: 'driver.queues',
    message: 'only virtio disks have queues',
    broken: (disk) => disk.driver?.queues !== undefined && !onBus(disk, 'virtio'),
  },
  {
    path: 'driver.iothread',
    message: 'only virtio disks take an IO thread (a SCSI disk uses that of its controller)',
    broken: (disk) => disk.driver?.iothread !== undefined && !onBus(disk, 'virtio'),
  },
  {
    path: 'target.removable',
    message: 'only usb disks can be removable',
    broken: (disk) => disk.target.removable !== undefined && !onBus(disk, 'usb'),
  },
  {
    path: 'target.rotation_rate',
    message: 'only sata, scsi and ide disks tell a rotation rate',
    broken: (disk) => disk.target.rotationRate !== undefined && !onBus(disk, 'sata', 'scsi', 'ide'),
  },
  {
    path: 'target.tray',
    message: 'only CD-ROM and floppy drives have a tray',
    broken: (disk) => disk.target.tray !== undefined && !isRemovable(disk),
  },
  {
    path: 'vendor',
    message: 'only scsi disks have vendor and product',
    broken: (disk) => (disk.vendor ?? disk.product) !== undefined && !onBus(disk, 'scsi'),
  },
  {
    path: 'wwn',
    message: 'only ide, sata and scsi disks have a WWN',
    broken: (disk) => disk.wwn !== undefined && !onBus(disk, 'ide', 'sata', 'scsi'),
  },
  {
    path: 'transient',
    message: 'a read-only disk cannot be transient',
    broken: (disk) => disk.transient !== undefined && disk.readonly === true,
  },
  {
    path: 'blockio.logical_block_size',
    message: 'is not a power of two from 512 to 2 MiB',
    broken: ({ blockio }) => isOddBlock(blockio?.logicalBlockBytes),
  },
  {
    path: 'blockio.physical_block_size',
    message: 'is not a power of two from 512 to 2 MiB',
    broken: ({ blockio }) => isOddBlock(blockio?.physicalBlockBytes),
  },
];

/** QEMU hw/core/qdev-properties-system.c: block sizes are powers of two, 512 bytes to 2 MiB; 0 leaves the default. */
function isOddBlock(bytes: number | undefined): boolean {
  if (bytes === undefined || bytes === 0) return false;
  return bytes < 512 || bytes > 2 * 1024 * 1024 || (bytes & (bytes - 1)) !== 0;
}
