/** Disks of domains that do not run: where they are and how large, without parsing a stored definition where it can be helped. */
import { open, stat } from 'node:fs/promises';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** What is known of a stored disk by its definition. */
export interface StoredDisk {
  readonly target: string;
  /** The file or device; undefined for others and for an empty drive. */
  readonly path?: string;
  /** Its header says the size; any other image is as long as its file. */
  readonly isQcow2?: true;
}

/** A stored disk as the host has it now. */
export interface DiskAtRest extends StoredDisk {
  /** Undefined when it cannot be looked at. */
  readonly sizes: DiskSizes | undefined;
}

/** In bytes: what the guest sees, what it takes up on the host, how long the file is. */
export interface DiskSizes {
  readonly capacityBytes: number;
  readonly allocationBytes: number;
  readonly physicalBytes: number;
}

export function storedDisksOf({ devices }: DomainDef): StoredDisk[] {
  return devices.disks.map((disk) => storedDiskOf(disk));
}

function storedDiskOf({ target, source, driver }: Disk): StoredDisk {
  const path = pathOfSource(source);
  return {
    target: target.dev,
    ...(path !== undefined && { path }),
    ...(driver?.type === 'qcow2' && { isQcow2: true }),
  };
}

export function measureAtRest(disks: readonly StoredDisk[]): Promise<DiskAtRest[]> {
  return Promise.all(
    disks.map(async (disk) => ({
      ...disk,
      sizes: disk.path === undefined ? undefined : await sizesOnce(disk.path, disk.isQcow2 === true),
    })),
  );
}

const inWork = new Map<string, Promise<DiskSizes | undefined>>();

/** A thousand domains asked about at once may share their images: each is looked at once at a time. */
function sizesOnce(path: string, isQcow2: boolean): Promise<DiskSizes | undefined> {
  const key = `${isQcow2}${path}`;
  const known = inWork.get(key);
  if (known !== undefined) return known;
  const looked = sizesOf(path, isQcow2).finally(() => inWork.delete(key));
  inWork.set(key, looked);
  return looked;
}

async function sizesOf(path: string, isQcow2: boolean): Promise<DiskSizes | undefined> {
  try {
    const { blocks, size } = await stat(path);
    const capacityBytes = (isQcow2 ? await qcow2Capacity(path) : undefined) ?? size;
    return { capacityBytes, allocationBytes: blocks * 512, physicalBytes: size };
  } catch {
    return undefined; // whoever starts the guest tells why
  }
}

/** A qcow2 image says its size at byte 24 of its header (QEMU docs/interop/qcow2.txt); undefined for what is none. */
export async function qcow2Capacity(path: string): Promise<number | undefined> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(32), 0, 32, 0);
    const isImage = bytesRead === 32 && buffer.toString('latin1', 0, 4) === 'QFI\u00fb';
    return isImage ? Number(buffer.readBigUInt64BE(24)) : undefined;
  } finally {
    await handle.close();
  }
}
