/**
 * What becomes of the state of emulated TPMs when their domains are forgotten: libvirt's rules. It holds keys, perhaps
 * those of the guest's disks, so it can be kept: by a flag, or once and for all by `persistent_state='yes'`.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

export type TpmFate = 'keep' | 'remove';

export class TpmStates {
  private readonly directory: string;

  /** `directory`: where the state of each domain's TPM is, by uuid. */
  constructor(directory: string) {
    this.directory = directory;
  }

  /** Takes the state of a forgotten domain away, unless it is to be kept. @throws VirtError file.* */
  async forget(definition: DomainDef, fate?: TpmFate): Promise<void> {
    const { uuid } = definition;
    if (uuid === undefined || !hasEmulatedTpm(definition)) return;
    if ((fate ?? fateOf(definition)) === 'keep') return;
    const path = join(this.directory, uuid);
    // swtpm, which has just been told to end, may write for the last time meanwhile.
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }).catch(
      (error: unknown) => {
        throw fileError(error, 'remove the state of a TPM', path);
      },
    );
  }
}

const hasEmulatedTpm = ({ devices }: DomainDef): boolean =>
  devices.tpms.some(({ backend }) => backend.type === 'emulator');

/** What a definition says of it. */
function fateOf({ devices }: DomainDef): TpmFate {
  const persists = devices.tpms.some(
    ({ backend }) => backend.type === 'emulator' && backend.persistentState === true,
  );
  return persists ? 'keep' : 'remove';
}

/** The running definition says from now on what was decided when the stored one was forgotten. */
export function noteFate(definition: DomainDef, fate: TpmFate): void {
  const tpms = definition.devices.tpms.map((tpm) =>
    tpm.backend.type === 'emulator'
      ? { ...tpm, backend: { ...tpm.backend, persistentState: fate === 'keep' } }
      : tpm,
  );
  Object.assign(definition.devices, { tpms });
}
