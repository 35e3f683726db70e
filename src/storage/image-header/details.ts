/** What an image is, as its own header tells: for people and for decisions about the image, never about other files. */
import type { FileHandle } from 'node:fs/promises';
import { oneLine } from '../../base/errors.ts';
import { blockDeviceBytes } from '../../base/ffi/ranges.ts';
import { describeIso } from './details/iso.ts';
import { describeLuks } from './details/luks.ts';
import { describeQcow, describeQcow2, describeQed } from './details/qemu-formats.ts';
import { describeVdi, describeVhdx, describeVpc } from './details/virtual-pc.ts';
import { describeVmdk } from './details/vmdk.ts';
import { badImage } from './header.ts';
import { bytesOf, type ImageBytes, ImageWindow } from './window.ts';

/** All that is known; a field is left out where the format has no such thing. Sizes in bytes. */
export interface ImageDetails {
  /** What a guest sees. */
  readonly virtualBytes: number;
  /** `dynamic`, `fixed`, or the format's own word (VMDK's createType). */
  readonly kind?: string;
  /** qcow2: `0.10` or `1.1`. */
  readonly compat?: '0.10' | '1.1';
  /** The unit in which space is taken: cluster, grain, block. */
  readonly clusterBytes?: number;
  /** qcow2: how many bits count the uses of a cluster. */
  readonly refcountBits?: number;
  readonly backing?: { readonly name: string; readonly format: string | undefined };
  /** The data is in another file; '' when its name is not told. */
  readonly dataFile?: string;
  /** Other files that hold the data (VMDK). */
  readonly extents?: readonly ImageExtent[];
  readonly encryption?: { readonly method: string; readonly cipher?: string };
  /** How many internal snapshots there are. */
  readonly snapshots?: number;
  /** How many dirty bitmaps there are (qcow2). */
  readonly bitmaps?: number;
  readonly compression?: string;
  /** `lazy-refcounts`, `extended-l2`, `dirty`, `corrupt`, ... */
  readonly features?: readonly string[];
  /** Volume label: ISO 9660, LUKS 2. */
  readonly label?: string;
  readonly uuid?: string;
  /** ISO 9660: what it boots on; empty when it doesn't. */
  readonly bootsOn?: readonly ('bios' | 'efi' | 'other')[];
  /** The file is shorter than its header says: a download that broke off. */
  readonly isTruncated?: boolean;
}

export interface ImageExtent {
  readonly name: string;
  readonly kind: string;
  readonly sizeBytes: number;
}

const readers: Readonly<Record<string, (window: ImageWindow) => Promise<ImageDetails>>> = {
  qcow2: describeQcow2,
  qcow: describeQcow,
  qed: describeQed,
  vmdk: describeVmdk,
  vdi: describeVdi,
  vhd: describeVhdx,
  vpc: describeVpc,
  luks: describeLuks,
  iso: describeIso,
};

/** The largest size that QEMU handles (block/io.c: 2^63 - 1, less what alignment takes); ours are numbers up to 2^53. */
const MAX_VIRTUAL_BYTES = Number.MAX_SAFE_INTEGER;

/**
 * Reads what an image of that format (our word for it) says of itself. Formats without a header are as long as they are.
 * @throws VirtError definition.unsupported when it is of another format, broken, or says something absurd
 */
export async function describeImage(bytes: ImageBytes, format: string): Promise<ImageDetails> {
  const read = readers[format];
  const details: ImageDetails = read
    ? await read(new ImageWindow(bytes))
    : { virtualBytes: bytes.lengthBytes };
  const { virtualBytes, label } = details;
  if (!Number.isSafeInteger(virtualBytes) || virtualBytes < 0 || virtualBytes > MAX_VIRTUAL_BYTES)
    throw badImage('it says that it is larger than anything');
  return label === undefined ? details : { ...details, label: oneLine(label, 200) };
}

/** What an image takes and is, with the facts of its file. */
export interface ImageFileDetails extends ImageDetails {
  /** Length of the file or device. */
  readonly fileBytes: number;
  /** What it takes on disk: st_blocks counts units of 512 bytes, whatever the file system's block (stat(2)). */
  readonly allocatedBytes: number;
}

/** As describeImage, of an open file or block device. */
export async function describeOpenImage(handle: FileHandle, format: string): Promise<ImageFileDetails> {
  const stats = await handle.stat();
  const isDevice = stats.isBlockDevice();
  const fileBytes = isDevice ? blockDeviceBytes(handle.fd) : stats.size;
  const details = await describeImage(bytesOf(handle, fileBytes), format);
  return { ...details, fileBytes, allocatedBytes: isDevice ? fileBytes : stats.blocks * 512 };
}
