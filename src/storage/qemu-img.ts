/** Runs qemu-img: formats always explicit, paths absolute and behind `--`, limits on time and memory. */
import { VirtError } from '../base/errors.ts';
import { findProgram, run } from '../base/exec.ts';
import { statIfPresent } from '../base/files.ts';

export type ImageFormat = 'raw' | 'qcow2' | 'vmdk' | 'vdi' | 'vhdx';

/**
 * Creates an image of `sizeBytes`; an existing file is never overwritten. The mode is 0600 by the daemon's umask.
 * @throws VirtError file.exists, file.no-space, program.missing, program.failed
 */
export async function createImage(image: {
  path: string;
  format: ImageFormat;
  sizeBytes: number;
}): Promise<void> {
  const wanted = `create the image ${image.path}`;
  // A path with a colon is safe here only because it is absolute: qemu-img reads `x:y` as a protocol.
  if (!image.path.startsWith('/'))
    throw new VirtError('request.invalid', { wanted, reason: 'the path is not absolute' });
  if ((await statIfPresent(image.path)) !== undefined)
    throw new VirtError('file.exists', {
      wanted,
      reason: 'a file is there already',
      hint: 'use it without a size',
    });
  const program = await findProgram('qemu-img');
  if (program === undefined)
    throw new VirtError('program.missing', {
      wanted,
      reason: 'qemu-img is not installed',
      hint: 'apt-get install qemu-utils',
    });
  await run(program, ['create', '-q', '-f', image.format, '--', image.path, String(image.sizeBytes)], {
    timeoutMs: 120_000,
  });
}
