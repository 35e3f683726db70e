/** New images that QEMU encrypts with LUKS: plain ones (`luks`) and qcow2. By qemu-img, which derives the keys. */
import { VirtError } from '../../base/errors.ts';
import type { Work } from '../backend.ts';
import { encryptionOptions, type ImageEncryption, SecretObjects } from '../passphrase.ts';
import { descriptorName, runQemuImg } from '../qemu-img.ts';
import { lend } from './lend.ts';
import { makeFile } from './new-file.ts';

export interface EncryptedSpec {
  readonly format: 'luks' | 'qcow2';
  readonly capacityBytes: number;
  readonly encryption: ImageEncryption;
  /** Options of the format (`cluster_size=65536`); numbers and words only. */
  readonly options: readonly string[];
  /** The image below, as it is written into the header: nothing is opened. `format` is QEMU's word. */
  readonly backing?: { readonly name: string; readonly format: string };
}

const wanted = 'create an encrypted image';

/**
 * Makes an image of mode 0600; on failure nothing is left. Deriving the key takes some seconds of computing, by design.
 * @throws VirtError definition.unsupported for a name below that could be read as something else, secret.*, file.*, program.*
 */
export async function createEncrypted(path: string, spec: EncryptedSpec, work: Work = {}): Promise<void> {
  const { format, capacityBytes, encryption, backing } = spec;
  if (backing !== undefined && !backing.name.startsWith('/'))
    throw new VirtError('definition.unsupported', { wanted, reason: 'the image below has no absolute path' });
  const below = backing === undefined ? [] : ['-u', '-b', backing.name, '-F', backing.format];
  await makeFile(path, { wanted, neededBytes: capacityBytes }, async (handle) => {
    using secrets = new SecretObjects(1);
    const options = [
      ...encryptionOptions(format, encryption, await secrets.add(encryption.passphrase)),
      ...spec.options,
    ];
    await using lent = await lend([{ handle, writes: true, isPrivate: true }]);
    await runQemuImg({
      wanted,
      args: [
        ...['create', '-q', ...secrets.args, '-f', format, '-o', options.join(','), ...below],
        ...['--', descriptorName(0), String(capacityBytes)],
      ],
      files: [...lent.files, ...secrets.files],
      identity: lent.identity,
      signal: work.signal,
      timeoutMs: 3600_000,
    });
    await handle.datasync();
  });
}
