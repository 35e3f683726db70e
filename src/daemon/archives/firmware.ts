/**
 * Firmware variables and the state of an emulated TPM in backups: `nvram`, and the directory `tpm` with a file for each of
 * swtpm's. They are of the moment that the disks are of: a guest that runs is paused while they are copied and the backup of
 * its disks begins.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from '../services/domain.ts';
import { whilePaused } from '../services/frozen.ts';
import { type CopyPaths, hasFirmwareState, refuseUncopied } from '../services/snapshot-firmware.ts';
import { describeFile, type Manifest, tpmDirectory } from './archive.ts';
import type { ArchiveWorld } from './world.ts';

/** Where a backup has them. An empty file says that there were no variables yet, an empty directory that there was no state. */
export function copiesIn(directory: string): CopyPaths {
  return { nvram: join(directory, 'nvram'), tpm: join(directory, tpmDirectory) };
}

/** @throws VirtError definition.unsupported where firmware variables would be missing in a backup */
export function refuseWithoutVariables({ name }: Pick<Domain, 'name'>, definition: DomainDef): void {
  const wanted = `back up domain '${name}'`;
  refuseUncopied(definition, { wanted, into: 'a backup', instead: 'put them into a file' });
}

/** Takes copies of a guest that runs around what begins the backup of its disks; what went wrong afterwards is in `late`. */
export function copyingAround(
  world: ArchiveWorld,
  domain: Domain,
  directory: string,
): { readonly around?: (begin: () => Promise<void>) => Promise<void>; readonly late: () => unknown } {
  let late: unknown;
  const definition = world.definitions.definition(domain);
  if (!hasFirmwareState(definition)) return { late: () => undefined };
  const around = async (begin: () => Promise<void>): Promise<void> => {
    const still = await whilePaused(world.domains, world.lifecycle, domain, async () => {
      await world.firmware.save(definition, copiesIn(directory));
      await begin();
    });
    late = still.late;
  };
  return { around, late: () => late };
}

/** What a manifest says of the copies that are there. @throws VirtError file.* */
export async function describeCopies(directory: string): Promise<Pick<Manifest, 'nvram' | 'tpm'>> {
  const { nvram, tpm } = copiesIn(directory);
  const names = await readdir(tpm).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fileError(error, 'look for the state of a TPM', tpm);
  });
  const hasVariables = (await statIfPresent(nvram)) !== undefined;
  return {
    ...(hasVariables && { nvram: await describeFile(directory, 'nvram') }),
    ...(names && { tpm: await Promise.all(names.sort().map((name) => describeFile(tpm, name))) }),
  };
}

/**
 * Puts them back; what a backup says nothing of stays as it is. A backup of an earlier version has no TPM state.
 * @throws VirtError file.*
 */
export async function putCopiesBack(
  world: ArchiveWorld,
  { path, manifest }: { readonly path: string; readonly manifest: Manifest },
  definition: DomainDef,
): Promise<void> {
  const { nvram, tpm } = copiesIn(path);
  const nothing = join(path, '.nothing');
  await world.firmware.restore(definition, {
    nvram: manifest.nvram === undefined ? nothing : nvram,
    tpm: manifest.tpm === undefined ? nothing : tpm,
  });
}
