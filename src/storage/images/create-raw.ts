/** Raw images: a file of the wanted length, of which as much is taken at once as was asked for. */
import { errnoOf } from '../../base/errors.ts';
import { disableCopyOnWrite } from '../../base/ffi/ranges.ts';
import type { Work } from '../backend.ts';
import { allocate } from './allocate.ts';
import { makeFile } from './new-file.ts';

export interface RawSpec {
  readonly capacityBytes: number;
  /** How much of it is taken at once, from its beginning; the rest is a hole. 0 is a sparse file. */
  readonly allocationBytes?: number;
  /** Turn copy on write off, on file systems that have it for each file (btrfs). */
  readonly nocow?: boolean;
}

/**
 * Makes a raw image of mode 0600; on failure nothing is left. It is not flushed to disk: whoever gives it its name does.
 * @throws VirtError file.exists, file.no-space, file.*, operation.aborted
 */
export async function createRaw(path: string, spec: RawSpec, work: Work = {}): Promise<void> {
  const wanted = 'create a raw image';
  const length = Math.min(spec.allocationBytes ?? 0, spec.capacityBytes);
  await makeFile(path, { wanted, neededBytes: length }, async (handle) => {
    if (spec.nocow === true) withoutCopyOnWrite(handle.fd);
    if (length > 0) await allocate(handle, { offset: 0, length }, work, wanted);
    await handle.truncate(spec.capacityBytes);
  });
}

/** File systems that don't copy on write file by file have no such switch, and need none. */
const noSwitch: readonly (string | undefined)[] = ['ENOTTY', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'ENOSYS'];

/** Turns copy on write off for an empty file; where there is none to turn off, that is what was wanted. */
export function withoutCopyOnWrite(fd: number): void {
  try {
    disableCopyOnWrite(fd);
  } catch (error) {
    if (!noSwitch.includes(errnoOf(error))) throw error;
  }
}
