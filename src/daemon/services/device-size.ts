/** Block devices that raw data of a disk is written to: QEMU takes none of another size. */
import { open } from 'node:fs/promises';
import { fileError, VirtError } from '../../base/errors.ts';
import { blockDeviceBytes } from '../../base/ffi/ranges.ts';

/** @throws VirtError request.invalid for a device of another size, file.* */
export async function requireSize(path: string, sizeBytes: number, wanted: string): Promise<void> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw fileError(error, wanted, path);
  });
  try {
    if (!(await handle.stat()).isBlockDevice()) return; // Whoever opens it for writing says so.
    const bytes = blockDeviceBytes(handle.fd);
    if (bytes === sizeBytes) return;
    throw new VirtError('request.invalid', {
      wanted,
      reason: `${path} has ${bytes} bytes, and the disk ${sizeBytes}: for raw data both must be the same`,
      hint:
        bytes > sizeBytes
          ? `make an image on it with 'qemu-img create -f qcow2 ${path} ${sizeBytes}', and reuse that`
          : 'take a larger device',
    });
  } finally {
    await handle.close();
  }
}
