/** Headers of formats that were before qcow2 or beside it: qcow, qed, and Connectix' VHD. */
import { badImage, bytesAt, type ImageHeader, nameAt, uint64 } from './header.ts';

/** qcow (QEMU block/qcow.c, QCowHeader): big-endian; it has no word for the backing file's format. */
export function parseQcow(start: Buffer): ImageHeader {
  const version = bytesAt(start, 0, 48, 'header').readUInt32BE(4);
  if (version !== 1) throw badImage(`it is of version ${version}, which is not that of qcow`);
  const offset = uint64(start, 8, 'be');
  const method = start.readUInt32BE(36);
  return {
    ...(offset !== 0 && {
      backing: {
        name: nameAt(start, offset, start.readUInt32BE(16), 'backing file name'),
        format: undefined,
      },
    }),
    ...(method !== 0 && { encryption: 'aes' }),
  };
}

/** Feature bits of qed: there is a backing file; and it is raw. */
const QED_BACKING = 1n;
const QED_RAW_BACKING = 4n;

/** qed (QEMU docs/interop/qed_spec.rst): little-endian. */
export function parseQed(start: Buffer): ImageHeader {
  const features = bytesAt(start, 0, 64, 'header').readBigUInt64LE(16);
  if ((features & QED_BACKING) === 0n) return {};
  const name = nameAt(start, start.readUInt32LE(56), start.readUInt32LE(60), 'backing file name');
  return { backing: { name, format: (features & QED_RAW_BACKING) === 0n ? undefined : 'raw' } };
}

/** Disk types of a VHD footer, a copy of which begins a dynamic image (VHD specification 1.0, "Hard Disk Footer"). */
const DIFFERENCING = 4;

/** QEMU reads a differencing VHD as if nothing were below it, so it must never get one. */
export function parseVpc(start: Buffer): ImageHeader {
  if (start.subarray(0, 8).toString('latin1') !== 'conectix') return {}; // A fixed disk has it at its end only.
  if (bytesAt(start, 0, 64, 'header').readUInt32BE(60) !== DIFFERENCING) return {};
  throw badImage(
    'it is a differencing VHD, and QEMU cannot read the image below it',
    'convert it to qcow2 where its parent is',
  );
}
