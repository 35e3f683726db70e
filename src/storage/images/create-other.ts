/** New images in formats that are not made here: by qemu-img. */
import { VirtError } from '../../base/errors.ts';
import type { Work } from '../backend.ts';
import { descriptorName, qemuFormat, runQemuImg } from '../qemu-img.ts';
import { lend } from './lend.ts';
import { makeFile } from './new-file.ts';

export interface OtherSpec {
  /** In our word: vmdk, vdi, vpc, vhd, qed, qcow. */
  readonly format: string;
  readonly capacityBytes: number;
  /** The image below, as it is written into the header: nothing is opened. `format` is QEMU's word. */
  readonly backing?: { readonly name: string; readonly format: string };
}

const wanted = 'create an image';

/**
 * Makes an image of mode 0600; on failure nothing is left.
 * @throws VirtError definition.unsupported for a name below that could be read as something else, file.*, program.*
 */
export async function createOther(path: string, spec: OtherSpec, work: Work = {}): Promise<void> {
  const { backing } = spec;
  // An absolute path is never read as a protocol.
  if (backing !== undefined && !backing.name.startsWith('/'))
    throw new VirtError('definition.unsupported', { wanted, reason: 'the image below has no absolute path' });
  const below = backing === undefined ? [] : ['-u', '-b', backing.name, '-F', backing.format];
  const format = qemuFormat(spec.format);
  await makeFile(path, { wanted, neededBytes: spec.capacityBytes }, async (handle) => {
    await using lent = await lend([{ handle, writes: true, isPrivate: true }]);
    await runQemuImg({
      wanted,
      args: ['create', '-q', '-f', format, ...below, '--', descriptorName(0), String(spec.capacityBytes)],
      files: lent.files,
      identity: lent.identity,
      signal: work.signal,
      timeoutMs: 3600_000,
    });
  });
}
