/** VMDK: sparse images with their descriptor inside; those that name other files are refused. */
import { badImage, bytesAt, type ImageHeader, nameOf, uint64 } from './header.ts';

const SECTOR_BYTES = 512;
const DESCRIPTION = '# Disk DescriptorFile';

/** Images that are one file (docs/security.md, class J); the others name extents, which QEMU would open by itself. */
const singleFile = ['monolithicSparse', 'streamOptimized'];

/**
 * The header of a hosted sparse extent is little-endian: descriptor offset and size in sectors at 28 and 36 (VMware
 * Virtual Disk Format 1.1).
 */
export function parseVmdk(start: Buffer): ImageHeader {
  // A description of other files may be shorter than a header.
  if (start.subarray(0, DESCRIPTION.length).toString('latin1') === DESCRIPTION) throw severalFiles();
  const magic = bytesAt(start, 0, SECTOR_BYTES, 'header').subarray(0, 4).toString('latin1');
  if (magic === 'COWD') return {};
  if (magic !== 'KDMV') throw severalFiles();
  const offset = uint64(start, 28, 'le') * SECTOR_BYTES;
  // Without a descriptor of its own it is an extent of a description elsewhere.
  if (offset === 0) throw severalFiles();
  return parseDescriptor(bytesAt(start, offset, uint64(start, 36, 'le') * SECTOR_BYTES, 'descriptor'));
}

function parseDescriptor(bytes: Buffer): ImageHeader {
  const end = bytes.indexOf(0);
  const text = (end === -1 ? bytes : bytes.subarray(0, end)).toString('latin1');
  const createType = /^createType\s*=\s*"([^"\n]*)"/m.exec(text)?.[1];
  if (createType === undefined || !singleFile.includes(createType)) throw severalFiles();
  const parent = /^parentFileNameHint\s*=\s*"([^"\n]*)"/m.exec(text)?.[1];
  if (parent === undefined) return {};
  // The parent of a VMDK is a VMDK; the format knows no other.
  return { backing: { name: nameOf(Buffer.from(parent, 'latin1'), 'parent name'), format: 'vmdk' } };
}

function severalFiles(): Error {
  return badImage(
    'it is a VMDK whose data is in other files',
    'convert it with qemu-img to one file, preferably qcow2',
  );
}
