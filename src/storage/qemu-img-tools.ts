/** Images as volumes: what backends ask for, by what makes, copies and changes images (storage/images). */

import { stat } from 'node:fs/promises';
import { errnoOf, fileError, VirtError } from '../base/errors.ts';
import type { NewVolume, ResizeRequest, Work } from './backend.ts';
import type { ImageFile, ImageTools } from './image-tools.ts';
import { convertOver, convertToFile, openLayers } from './images/convert.ts';
import { copyOver, copyToFile } from './images/copy.ts';
import { createEncrypted, type EncryptedSpec } from './images/create-encrypted.ts';
import { createOther } from './images/create-other.ts';
import { createQcow2 } from './images/create-qcow2.ts';
import { createRaw } from './images/create-raw.ts';
import { openImage } from './images/new-file.ts';
import type { Qcow2Spec } from './images/qcow2-layout.ts';
import { resizeImage } from './images/resize.ts';
import { wipeFile } from './images/wipe.ts';
import type { ImageEncryption } from './passphrase.ts';
import { qemuFormat } from './qemu-img.ts';

export const qemuImgTools: ImageTools = { create, copy, resize, wipe: wipeFile };

async function create(path: string, volume: NewVolume, work: Work = {}): Promise<void> {
  const { capacityBytes, allocationBytes, nocow } = volume;
  if (volume.encryption !== undefined)
    return createEncrypted(path, encryptedSpec(volume, volume.encryption), work);
  if (qemuFormat(volume.format) === 'raw')
    return createRaw(path, { capacityBytes, allocationBytes, ...(nocow !== undefined && { nocow }) }, work);
  if (volume.format === 'qcow2') return createQcow2(path, qcow2Spec(volume), work);
  return createOther(path, { format: volume.format, capacityBytes, ...backingOf(volume) }, work);
}

function encryptedSpec(volume: NewVolume, encryption: ImageEncryption): EncryptedSpec {
  const { capacityBytes } = volume;
  const options = convertOptions(volume);
  return {
    format: volume.format === 'qcow2' ? 'qcow2' : 'luks',
    capacityBytes,
    encryption,
    options,
    ...backingOf(volume),
  };
}

function backingOf({ backing }: NewVolume): Pick<Qcow2Spec, 'backing'> {
  return backing === undefined ? {} : { backing: { name: backing.path, format: qemuFormat(backing.format) } };
}

function qcow2Spec(volume: NewVolume): Qcow2Spec {
  const { capacityBytes, compat, clusterSizeBytes, lazyRefcounts, extendedL2, nocow } = volume;
  const preallocation = preallocationOf(volume);
  return {
    capacityBytes,
    ...backingOf(volume),
    ...(compat !== undefined && { compat }),
    ...(clusterSizeBytes !== undefined && { clusterSizeBytes }),
    ...(lazyRefcounts !== undefined && { lazyRefcounts }),
    ...(extendedL2 !== undefined && { extendedL2 }),
    ...(nocow !== undefined && { nocow }),
    ...(preallocation !== undefined && { preallocation }),
  };
}

/** A thing with something below it cannot be preallocated. */
function preallocationOf(volume: NewVolume): 'falloc' | 'metadata' | undefined {
  if (volume.backing !== undefined) return undefined;
  if (volume.allocationBytes >= volume.capacityBytes && volume.capacityBytes > 0) return 'falloc';
  return volume.preallocateMetadata === true ? 'metadata' : undefined;
}

/** qemu-img(1), "Disk image file formats": options of a qcow2 that a conversion makes. */
function convertOptions(volume: NewVolume): string[] {
  const preallocation = preallocationOf(volume);
  if (volume.format === 'luks') return preallocation === 'falloc' ? ['preallocation=falloc'] : [];
  if (volume.format !== 'qcow2') return [];
  const { compat, clusterSizeBytes, lazyRefcounts, extendedL2, nocow } = volume;
  return [
    ...(compat === undefined ? [] : [`compat=${compat}`]),
    ...(clusterSizeBytes === undefined ? [] : [`cluster_size=${clusterSizeBytes}`]),
    ...(lazyRefcounts === true ? ['lazy_refcounts=on'] : []),
    ...(extendedL2 === true ? ['extended_l2=on'] : []),
    ...(nocow === true ? ['nocow=on'] : []),
    ...(preallocation === undefined ? [] : [`preallocation=${preallocation}`]),
  ];
}

async function copy(source: ImageFile, path: string, volume: NewVolume, work: Work = {}): Promise<void> {
  const isDevice = await isBlockDevice(path);
  if (isPlainCopy(source, volume) && (await keepsLock(source, volume)))
    return copyBytes(source, path, isDevice, { ...work, mustShare: volume.mustShare === true });
  if (volume.mustShare === true) throw cannotShare('the copy would not be the very same bytes');
  const spec = {
    format: volume.format,
    capacityBytes: volume.capacityBytes,
    options: convertOptions(volume),
    encryption: volume.encryption,
    // A raw copy may be taken whole, as its description says; otherwise holes stay holes.
    isFull: volume.format === 'raw' && volume.allocationBytes >= volume.capacityBytes,
  };
  return isDevice ? convertOver(source, path, spec, work) : convertToFile(source, path, spec, work);
}

/** Whether the very same bytes are what is wanted: nothing lies below, and nothing is said of how they are to lie. */
function isPlainCopy(source: ImageFile, volume: NewVolume): boolean {
  const isSame = qemuFormat(source.format) === qemuFormat(volume.format);
  const isFull = volume.format === 'raw' && volume.allocationBytes >= volume.capacityBytes;
  return isSame && source.backing === undefined && !isFull && convertOptions(volume).length === 0;
}

/** Whether the bytes as they are open by what the new image is to open by. */
async function keepsLock(source: ImageFile, { encryption }: NewVolume): Promise<boolean> {
  if (encryption === undefined) return true;
  const { passphrase, cipher, mode, hash, ivgen } = encryption;
  if (source.isEncrypted !== true || source.passphrase === undefined) return false;
  if ([cipher, mode, hash, ivgen].some((said) => said !== undefined)) return false;
  if (passphrase === source.passphrase) return true;
  const [old, wanted] = [await source.passphrase.read(), await passphrase.read()];
  try {
    return old.equals(wanted);
  } finally {
    old.fill(0);
    wanted.fill(0);
  }
}

function cannotShare(reason: string): VirtError {
  return new VirtError('file.failed', {
    wanted: 'copy a volume',
    reason: `failed to clone files: ${reason}`,
    hint: 'copy without that demand',
  });
}

async function copyBytes(
  from: ImageFile,
  to: string,
  isDevice: boolean,
  work: Work & { readonly mustShare: boolean },
): Promise<void> {
  if (isDevice && work.mustShare) throw cannotShare('a device shares no blocks');
  // Encrypted or not: the bytes stay what they are.
  await using layers = await openLayers(from, 'read', { isLocked: true });
  const [source] = layers.images;
  if (source === undefined) throw new Error('an image has at least one layer');
  if (!isDevice) return void (await copyToFile(source.handle, to, work, work));
  const target = await openImage(to, 'write', 'copy a volume');
  try {
    await copyOver(source.handle, target, work);
  } finally {
    await target.close();
  }
  return undefined;
}

/** A logical volume is a link to its device. */
async function isBlockDevice(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isBlockDevice();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw fileError(error, 'look at a file', path);
  }
}

async function resize(request: ResizeRequest, work: Work = {}): Promise<void> {
  const { image, capacityBytes, allocate, shrink } = request;
  await resizeImage(image, { capacityBytes, allocate, shrink }, work);
}
