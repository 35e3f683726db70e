/** Creates an image in any format by its description. */
import { VirtError } from '../../base/errors.ts';
import type { Work } from '../backend.ts';
import { createOther } from './create-other.ts';
import { createQcow2 } from './create-qcow2.ts';
import { createRaw } from './create-raw.ts';

export type ImageFormat = 'raw' | 'qcow2' | 'vmdk' | 'vdi' | 'vhdx';

/**
 * Creates an image of `sizeBytes` and mode 0600; an existing file is never overwritten.
 * @throws VirtError request.invalid, file.exists, file.no-space, program.missing, program.failed
 */
export async function createImage(
  image: { readonly path: string; readonly format: ImageFormat; readonly sizeBytes: number },
  work: Work = {},
): Promise<void> {
  const { path, format, sizeBytes } = image;
  if (!path.startsWith('/'))
    throw new VirtError('request.invalid', {
      wanted: `create the image ${path}`,
      reason: 'the path is not absolute',
    });
  if (format === 'raw') return createRaw(path, { capacityBytes: sizeBytes }, work);
  if (format === 'qcow2') return createQcow2(path, { capacityBytes: sizeBytes }, work);
  return createOther(path, { format, capacityBytes: sizeBytes }, work);
}
