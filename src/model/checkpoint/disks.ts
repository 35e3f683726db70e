/** Which disks a checkpoint notes: the wish and libvirt's rules for it (libvirt, "Checkpoint XML format"). Pure. */
import { VirtError } from '../../base/errors.ts';
import { type Disk, isEmptySource } from '../domain/devices/disk.ts';
import type { DomainDef } from '../domain/domain.ts';
import { pathOf } from '../snapshot/disks.ts';
import type { CheckpointDisk } from './checkpoint.ts';

/** True for a disk whose writes can't, or need not, be noted: an empty drive, or what nobody writes to. */
export function isUnwritten(disk: Disk): boolean {
  return isEmptySource(disk.source) || disk.readonly === true || disk.device === 'cdrom';
}

/**
 * Every disk of the definition with what becomes of it. Without a list, each that can be written is noted; with one, only
 * those that it names. The bitmap is called as the checkpoint.
 * @throws VirtError definition.unsupported
 */
export function alignCheckpointDisks(
  domain: DomainDef,
  wishes: readonly CheckpointDisk[],
  { name, wanted }: { readonly name: string; readonly wanted: string },
): CheckpointDisk[] {
  const { disks } = domain.devices;
  const refuse = (path: string, message: string): never => {
    throw refused(wanted, path, message);
  };
  if (wishes.length > disks.length) refuse('disks', 'too many disk checkpoint requests for domain');
  if (disks.length === 0) refuse('disks', 'domain must have at least one disk to perform checkpoints');
  const byTarget = new Map<string, CheckpointDisk>();
  for (const [index, wish] of wishes.entries()) {
    const where = `disks.disk[${index}]`;
    const disk = disks.find((one) => one.target.dev === wish.name || pathOf(one) === wish.name);
    if (disk === undefined) return refuse(where, `no disk named '${wish.name}'`);
    if (byTarget.has(disk.target.dev)) refuse(where, `disk '${wish.name}' specified twice`);
    if (wish.checkpoint !== 'no' && isUnwritten(disk))
      refuse(where, `disk '${wish.name}' is empty or readonly`);
    byTarget.set(disk.target.dev, wish);
  }
  return disks.map((disk): CheckpointDisk => {
    const { dev } = disk.target;
    const wish = byTarget.get(dev);
    const isNoted = wish === undefined ? wishes.length === 0 && !isUnwritten(disk) : wish.checkpoint !== 'no';
    return isNoted
      ? { name: dev, checkpoint: 'bitmap', bitmap: wish?.bitmap ?? name }
      : { name: dev, checkpoint: 'no' };
  });
}

/**
 * What QEMU can do: the bitmap has the checkpoint's name, and lies in a qcow2 image.
 * @throws VirtError definition.unsupported
 */
export function checkCheckpointDisks(
  domain: DomainDef,
  disks: readonly CheckpointDisk[],
  { name, wanted }: { readonly name: string; readonly wanted: string },
): void {
  for (const { name: target, checkpoint, bitmap } of disks) {
    if (checkpoint !== 'bitmap') continue;
    if (bitmap !== name)
      throw refused(wanted, target, `bitmap for disk '${target}' must match checkpoint name '${name}'`);
    const disk = domain.devices.disks.find((one) => one.target.dev === target);
    const format = disk?.driver?.type ?? 'raw';
    if (format !== 'qcow2')
      throw refused(
        wanted,
        target,
        `checkpoint for disk ${target} unsupported for storage type ${format}`,
        'convert the disk to qcow2, or leave it out',
      );
  }
}

function refused(wanted: string, path: string, message: string, hint?: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: message,
    ...(hint !== undefined && { hint }),
    details: { problems: [{ path, message }] },
  });
}
