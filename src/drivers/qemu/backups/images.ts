/** The nodes of images that a backup writes: opened by us, given to QEMU by descriptor, named by their disk. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileError, VirtError } from '../../../base/errors.ts';
import type { QmpClient } from '../qmp/client.ts';
import { ignoringRefusal } from '../qmp/refusal.ts';

/** The node of the image as data. Names of the guest's own images begin with `libvirt-`: these are none of those. */
export const backupNode = (disk: string): string => `vireo-backup-${disk}-format`;
const storageNode = (disk: string): string => `vireo-backup-${disk}-storage`;
/** QEMU's name of the job on a disk, and of what it serves. */
export const backupJob = (disk: string): string => `vireo-backup-${disk}`;
export const jobPrefix = 'vireo-backup-';

/** Whose descriptors those are. */
const opaqueOf = (disk: string): string => `vireo backup of ${disk}`;

export interface BackupImage {
  readonly disk: string;
  readonly file: string;
  readonly isBlockDevice: boolean;
  readonly format: 'qcow2' | 'raw';
  /** The node that is read where the image has nothing. */
  readonly backing: string | undefined;
}

/** @throws VirtError file.*, definition.unsupported, qmp.* */
export async function addImage(qmp: QmpClient, image: BackupImage): Promise<void> {
  const { disk, file, isBlockDevice, format, backing } = image;
  const handle = await openTarget(file, isBlockDevice);
  let set: number;
  try {
    ({ set } = await qmp.addDescriptor(handle.fd, { opaque: opaqueOf(disk) }));
  } finally {
    await handle.close();
  }
  await qmp.execute('blockdev-add', {
    driver: isBlockDevice ? 'host_device' : 'file',
    'node-name': storageNode(disk),
    filename: `/dev/fdset/${set}`,
    discard: 'unmap',
  });
  await qmp.execute('blockdev-add', {
    driver: format,
    'node-name': backupNode(disk),
    file: storageNode(disk),
    discard: 'unmap',
    ...(format === 'qcow2' && { backing: backing ?? null }),
  });
}

async function openTarget(path: string, isBlockDevice: boolean) {
  const wanted = 'open an image for a backup';
  const flags = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY;
  const handle = await open(path, flags).catch((error: unknown) => {
    throw fileError(error, wanted, path);
  });
  const stat = await handle.stat();
  if (isBlockDevice ? stat.isBlockDevice() : stat.isFile()) return handle;
  await handle.close();
  throw new VirtError('definition.unsupported', {
    wanted,
    reason: `${path} is not a ${isBlockDevice ? 'block device' : 'regular file'}`,
    hint: isBlockDevice ? "use type='file' for a file" : "use type='block' for a block device",
  });
}

/** Takes nodes and descriptors of an image away; what is not there is passed over. @throws VirtError qmp.* */
export async function removeImage(qmp: QmpClient, disk: string): Promise<void> {
  for (const node of [backupNode(disk), storageNode(disk)])
    await ignoringRefusal(qmp.execute('blockdev-del', { 'node-name': node }));
  for (const { 'fdset-id': set, fds } of await qmp.execute('query-fdsets'))
    if (fds.some(({ opaque }) => opaque === opaqueOf(disk)))
      await ignoringRefusal(qmp.execute('remove-fd', { 'fdset-id': set }));
}
