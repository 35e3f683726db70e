/** Firmware variables and the TPM's state beside the snapshots that have no memory, in which both would be. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, realpath, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
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
  /** Empty where there were no variables yet. */
  readonly nvram: string;
  /** Empty where there was no state yet. */
  readonly tpm: string;
}

/** What belongs to a domain beside its disks. */
export interface FirmwareCopies {
  /** Where the state of a domain's TPM is. */
  tpmDirectoryOf(domain: { readonly uuid: string }): string;
  /** Copies what there is, and notes what there is not. @throws VirtError file.*, request.too-large */
  save(definition: DomainDef, to: CopyPaths): Promise<void>;
  /**
   * Puts back what was copied, and takes away what was not there; what a snapshot that was made elsewhere says nothing of
   * stays as it is. Done twice, it is the same.
   * @throws VirtError file.*
   */
  restore(definition: DomainDef, from: CopyPaths): Promise<void>;
  /** Gives a domain, which has none yet, a copy of another's TPM state: its keys, and so its identity. @throws VirtError file.* */
  copyTpm(from: DomainDef, to: DomainDef): Promise<void>;
  /** Removes UEFI's variables: the next start makes them from their template. @throws VirtError file.* */
  reset(definition: DomainDef): Promise<void>;
}

/** Larger than any flash of a machine, and than any state of swtpm. */
const MAX_BYTES = 64 * 1024 * 1024;

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
    if (variables !== undefined) await replaceFile(nvram, await readIfPresent(variables));
    if (!hasEmulatedTpm(definition)) return;
    await rm(tpm, { recursive: true, force: true });
    await mkdir(tpm, { mode: 0o700 });
    for (const [name, bytes] of await readState(this.stateOf(definition)))
      await replaceFile(join(tpm, name), bytes);
  }

  async restore(definition: DomainDef, { nvram, tpm }: CopyPaths): Promise<void> {
    const variables = variablesOf(definition);
    if (variables !== undefined && (await statIfPresent(nvram)) !== undefined)
      await putVariablesBack(nvram, variables);
    if (!hasEmulatedTpm(definition) || (await statIfPresent(tpm)) === undefined) return;
    await putStateBack(tpm, this.stateOf(definition));
  }

  async copyTpm(from: DomainDef, to: DomainDef): Promise<void> {
    if (hasEmulatedTpm(from) && hasEmulatedTpm(to)) await putStateBack(this.stateOf(from), this.stateOf(to));
  }

  async reset(definition: DomainDef): Promise<void> {
    const variables = variablesOf(definition);
    if (variables !== undefined) await removeDurable(variables);
  }

  private stateOf({ uuid = '' }: DomainDef): string {
    return join(this.tpmDirectory, uuid);
  }
}

/** True for a domain whose snapshots without memory need copies. */
export function hasFirmwareState(definition: DomainDef): boolean {
  return variablesOf(definition) !== undefined || hasEmulatedTpm(definition);
}

/**
 * What cannot be copied beside a snapshot or into a backup, and would be another after a return to it. `instead`: what works.
 * @throws VirtError definition.unsupported
 */
export function refuseUncopied(
  { os: { nvram } }: DomainDef,
  { wanted, into, instead }: { readonly wanted: string; readonly into: string; readonly instead: string },
): void {
  if (nvram === undefined || nvram.path !== undefined || nvram.source === undefined) return;
  if (nvram.source.type === 'file') return;
  const message = `firmware variables on a source of type '${nvram.source.type}' cannot be kept in ${into}`;
  throw new VirtError('definition.unsupported', {
    wanted,
    reason: message,
    hint: instead,
    details: { problems: [{ path: 'os.nvram', message }] },
  });
}

export const hasEmulatedTpm = ({ devices, uuid }: DomainDef): boolean =>
  uuid !== undefined && devices.tpms.some(({ backend }) => backend.type === 'emulator');

/** The file with UEFI's variables. */
export function variablesOf({ os: { nvram } }: Pick<DomainDef, 'os'>): string | undefined {
  return nvram?.path ?? (nvram?.source?.type === 'file' ? nvram.source.file : undefined);
}

async function putVariablesBack(copy: string, variables: string): Promise<void> {
  const bytes = await readIfPresent(copy);
  if (bytes === undefined || bytes.length === 0) return removeDurable(variables);
  await ensureDirectory(dirname(variables), 0o700);
  // One that is somewhere else by a link stays there.
  const isThere = (await statIfPresent(variables)) !== undefined;
  await replaceFile(isThere ? await realpath(variables) : variables, bytes);
}

/** The directory is the guest's own, whose processes have ended: it has what the copy has, and nothing else. */
async function putStateBack(copy: string, state: string): Promise<void> {
  await ensureDirectory(dirname(state), 0o711);
  await ensureDirectory(state, 0o700);
  const kept = await readState(copy);
  for (const [name, bytes] of kept) await replaceFile(join(state, name), bytes);
  for (const name of await namesIn(state)) if (!kept.has(name)) await removeDurable(join(state, name));
}

/** How often a directory is read again in which swtpm has put a new file in place of one meanwhile. */
const ATTEMPTS = 10;

/** The files of a TPM's state; each is replaced as a whole by swtpm, which may run. */
async function readState(directory: string): Promise<Map<string, Buffer>> {
  for (let attempt = 1; ; attempt++) {
    const found = new Map<string, Buffer>();
    const names = await namesIn(directory);
    for (const name of names) {
      const bytes = await readIfPresent(join(directory, name), constants.O_NOFOLLOW);
      if (bytes !== undefined) found.set(name, bytes);
    }
    if (found.size === names.length || attempt === ATTEMPTS) return found;
  }
}

/** Without the lock, which belongs to the process that runs there, and without what swtpm is at (TMP2-00.permall). */
async function namesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'look for the state of a TPM', directory);
  });
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && !entry.name.startsWith('TMP'))
    .map(({ name }) => name);
}

/** A regular file, whole; undefined when there is none. @throws VirtError file.*, request.too-large */
async function readIfPresent(path: string, flags = 0): Promise<Buffer | undefined> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
    const found = await handle.stat();
    if (!found.isFile())
      throw new VirtError('file.failed', { wanted: 'copy firmware state', reason: `${path} is no file` });
    if (found.size > MAX_BYTES)
      throw new VirtError('request.too-large', {
        wanted: 'copy firmware state',
        reason: `${path} is larger than ${MAX_BYTES} bytes`,
      });
    return await handle.readFile();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fileError(error, 'copy firmware state', path);
  } finally {
    await handle?.close();
  }
}

/**
 * A file that is whole or not at all, in place of what is there; it has the owner of that, else of its directory, mode 0600.
 * The directory may be a guest's own: no name in it is trusted.
 */
async function replaceFile(to: string, bytes: Uint8Array | undefined): Promise<void> {
  const directory = dirname(to);
  const temporary = join(directory, `.${nanoid(10)}${temporarySuffix}`);
  try {
    const { uid, gid } = (await statIfPresent(to)) ?? (await stat(directory));
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(temporary, flags, 0o600);
    try {
      await handle.writeFile(bytes ?? Buffer.alloc(0));
      await handle.chown(uid, gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, to);
    await syncDirectory(directory);
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // It may not have been made.
    throw fileError(error, 'copy firmware state', to);
  }
}
