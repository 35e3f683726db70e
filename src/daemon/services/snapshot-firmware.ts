/** Firmware variables and the TPM's state beside the snapshots that have no memory, in which both would be. */
import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fileError } from '../../base/errors.ts';
import {
  ensureDirectory,
  removeDurable,
  statIfPresent,
  syncDirectory,
  temporarySuffix,
} from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** Where the copies of one snapshot are. */
export interface CopyPaths {
  readonly nvram: string;
  readonly tpm: string;
}

/** What belongs to a domain beside its disks. */
export interface FirmwareCopies {
  /** Where the state of a domain's TPM is. */
  tpmDirectoryOf(domain: { readonly uuid: string }): string;
  /** Copies what there is. @throws VirtError file.* */
  save(definition: DomainDef, to: CopyPaths): Promise<void>;
  /** Puts back what was copied; what was not stays as it is. @throws VirtError file.* */
  restore(definition: DomainDef, from: CopyPaths): Promise<void>;
  /** Removes UEFI's variables: the next start makes them from their template. @throws VirtError file.* */
  reset(definition: DomainDef): Promise<void>;
}

export class FirmwareFiles implements FirmwareCopies {
  private readonly tpmDirectory: string;

  /** `tpmDirectory`: where the state of each domain's TPM is, by uuid. */
  constructor(tpmDirectory: string) {
    this.tpmDirectory = tpmDirectory;
  }

  tpmDirectoryOf({ uuid }: { readonly uuid: string }): string {
    return join(this.tpmDirectory, uuid);
  }

  async save(definition: DomainDef, { nvram, tpm }: CopyPaths): Promise<void> {
    const variables = variablesOf(definition);
    if (variables !== undefined && (await statIfPresent(variables)) !== undefined)
      await replaceFile(variables, nvram);
    const state = this.tpmOf(definition);
    if (state === undefined || (await statIfPresent(state)) === undefined) return;
    await rm(tpm, { recursive: true, force: true });
    await mkdir(tpm, { mode: 0o700 });
    await copyTree(state, tpm);
  }

  async restore(definition: DomainDef, { nvram, tpm }: CopyPaths): Promise<void> {
    const variables = variablesOf(definition);
    if (variables !== undefined && (await statIfPresent(nvram)) !== undefined) {
      await ensureDirectory(dirname(variables), 0o700);
      await replaceFile(nvram, variables);
    }
    const state = this.tpmOf(definition);
    if (state === undefined || (await statIfPresent(tpm)) === undefined) return;
    await ensureDirectory(state, 0o700);
    await copyTree(tpm, state);
  }

  async reset(definition: DomainDef): Promise<void> {
    const variables = variablesOf(definition);
    if (variables !== undefined) await removeDurable(variables);
  }

  private tpmOf({ devices, uuid }: DomainDef): string | undefined {
    const isEmulated = devices.tpms.some(({ backend }) => backend.type === 'emulator');
    return isEmulated && uuid !== undefined ? join(this.tpmDirectory, uuid) : undefined;
  }
}

/** The file with UEFI's variables. */
function variablesOf({ os: { nvram } }: DomainDef): string | undefined {
  return nvram?.path ?? (nvram?.source?.type === 'file' ? nvram.source.file : undefined);
}

/** Copies all files below a directory into one that is there; they get its owner. */
async function copyTree(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) {
      await mkdir(target, { mode: 0o700 }).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await giveTo(target, to);
      await copyTree(source, target);
    } else if (entry.isFile() && !entry.name.startsWith('.lock')) await replaceFile(source, target);
  }
}

async function giveTo(path: string, like: string): Promise<void> {
  const { uid, gid } = await stat(like);
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.chown(uid, gid);
  } finally {
    await handle.close();
  }
}

/** A copy that is whole or not at all, in place of what is there; it has the owner of its directory, mode 0600. */
async function replaceFile(from: string, to: string): Promise<void> {
  const temporary = `${to}${temporarySuffix}`;
  try {
    await copyFile(from, temporary, constants.COPYFILE_FICLONE);
    const handle = await open(temporary, 'r+');
    try {
      const owner = (await statIfPresent(to)) ?? (await stat(dirname(to)));
      await handle.chown(owner.uid, owner.gid);
      await handle.chmod(0o600);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, to);
    await syncDirectory(dirname(to));
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileError(error, 'copy firmware state', to);
  }
}
