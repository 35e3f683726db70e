/**
 * Backups in directories: `DIR/DOMAIN/ID/` holds an image for each disk, the definition, firmware variables and TPM state,
 * and `manifest.json`, which is written last and says what belongs to it. A directory without one is no backup. An incremental one names its parent
 * beside it, and each of its images lies on the parent's.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { readText, syncDirectory, writeDurable } from '../../base/files.ts';

const file = z.object({ name: z.string(), bytes: z.number(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const manifestSchema = z.looseObject({
  format: z.literal(1),
  domain: z.object({ uuid: z.guid(), name: z.string() }),
  /** The moment that it holds, in milliseconds since 1970. */
  takenAtMs: z.number(),
  kind: z.enum(['full', 'incremental']),
  /** The backup that it lies on, by its directory's name. */
  parent: z.string().optional(),
  /** The checkpoint since which the next one can take changes. */
  checkpoint: z.string().optional(),
  /** The guest ran, and whether its file systems stood still. */
  guest: z.enum(['off', 'running', 'frozen']),
  /** The plan that made it. */
  plan: z.string().optional(),
  disks: z.array(
    z.object({
      target: z.string(),
      capacityBytes: z.number(),
      /** Format of the disk itself; the image of a backup is qcow2. */
      format: z.string(),
      /** It holds only what was written since the parent. */
      isIncremental: z.boolean(),
      file,
    }),
  ),
  definition: file,
  /** Firmware variables; of no bytes: there were none yet. */
  nvram: file.optional(),
  /** The state of its emulated TPM: files in the directory `tpm`; none: there was no state yet. */
  tpm: z.array(file).optional(),
});
export type Manifest = z.output<typeof manifestSchema>;

/** A backup where it is. */
export interface Archive {
  /** Name of its directory: the time it was begun. */
  readonly id: string;
  /** Its directory, absolute. */
  readonly path: string;
  readonly manifest: Manifest;
}

/** Where a backup has the state of a TPM. */
export const tpmDirectory = 'tpm';
const manifestFile = 'manifest.json';
const MAX_BYTES = 1024 * 1024;

/** `20261122T041500Z` */
export function idOf(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');
}

/** Where a backup is made until it is whole. */
export const partialOf = (path: string): string => join(dirname(path), `.${basename(path)}.partial`);

/** A backup by its directory. @throws VirtError backup.not-found, backup.damaged, file.* */
export async function openArchive(path: string): Promise<Archive> {
  const wanted = `read the backup ${path}`;
  let text: string;
  try {
    text = await readText(join(path, manifestFile), MAX_BYTES);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && (!(error instanceof VirtError) || error.code !== 'file.not-found'))
      throw fileError(error, wanted, path);
    throw new VirtError('backup.not-found', {
      wanted,
      reason: `${path}: there is no manifest`,
      hint: "'vireo backup list --dir DIR' shows those that are there",
    });
  }
  try {
    return { id: basename(path), path, manifest: manifestSchema.parse(JSON.parse(text)) };
  } catch (error) {
    throw new VirtError('backup.damaged', {
      wanted,
      reason: `${path}: its manifest is broken: ${reasonOf(error)}`,
    });
  }
}

/** What is in a directory of backups: those that can be read, the oldest first, and what is wrong with others. */
export interface Listing {
  readonly archives: readonly Archive[];
  readonly broken: readonly { readonly path: string; readonly reason: string }[];
}

/** All below a directory. @throws VirtError file.* for the directory itself */
export async function listArchives(directory: string): Promise<Listing> {
  const archives: Archive[] = [];
  const broken: { path: string; reason: string }[] = [];
  for (const domain of await directoriesIn(directory))
    for (const id of await directoriesIn(join(directory, domain))) {
      const path = join(directory, domain, id);
      try {
        archives.push(await openArchive(path));
      } catch (error) {
        // What has no manifest is none of ours.
        if (error instanceof VirtError && error.code === 'backup.not-found') continue;
        broken.push({ path, reason: reasonOf(error) });
      }
    }
  return { archives: archives.sort((a, b) => a.manifest.takenAtMs - b.manifest.takenAtMs), broken };
}

async function directoriesIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .flatMap((one) => (one.isDirectory() && !one.name.startsWith('.') ? [one.name] : []))
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'look for backups', path);
  }
}

/** A backup with all that it lies on, itself first. @throws VirtError backup.damaged when one is missing */
export async function chainOf(archive: Archive): Promise<Archive[]> {
  const chain = [archive];
  for (let { parent } = archive.manifest; parent !== undefined; ) {
    const path = join(dirname(archive.path), parent);
    if (chain.some((one) => one.path === path) || parent.includes('/'))
      throw new VirtError('backup.damaged', { reason: `${archive.path}: its parents lead back to it` });
    const next = await openArchive(path).catch((error: unknown) => {
      throw new VirtError('backup.damaged', {
        wanted: `read the backup ${archive.path}`,
        reason: `the backup '${parent}' that it lies on cannot be read: ${reasonOf(error)}`,
      });
    });
    chain.push(next);
    parent = next.manifest.parent;
  }
  return chain;
}

/** Name, length and hash of a file of a backup. @throws VirtError file.*, operation.aborted */
export async function describeFile(
  directory: string,
  name: string,
  signal?: AbortSignal,
): Promise<z.output<typeof file>> {
  const path = join(directory, name);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(path, {
      highWaterMark: 1024 * 1024,
      ...(signal && { signal }),
    }) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
  } catch (error) {
    throw fileError(error, 'read a file of a backup', path);
  }
  return { name, bytes, sha256: hash.digest('hex') };
}

/** Writes the manifest, and gives the backup its name: from then on it is one. @throws VirtError file.* */
export async function completeArchive(path: string, manifest: Manifest): Promise<Archive> {
  const partial = partialOf(path);
  await writeDurable(join(partial, manifestFile), `${JSON.stringify(manifest, null, 2)}\n`);
  try {
    await rename(partial, path);
  } catch (error) {
    throw fileError(error, 'name a backup', path);
  }
  await syncDirectory(dirname(path));
  return { id: basename(path), path, manifest };
}

/** Removes a backup: its name first, so that none is ever half there. @throws VirtError file.* */
export async function removeArchive(path: string): Promise<void> {
  const gone = join(dirname(path), `.${basename(path)}.gone`);
  try {
    await rm(gone, { recursive: true, force: true });
    await rename(path, gone);
    await syncDirectory(dirname(path));
    await rm(gone, { recursive: true, force: true });
  } catch (error) {
    throw fileError(error, 'remove a backup', path);
  }
}

/** What is found wrong with a backup and those that it lies on. */
export interface Finding {
  readonly path: string;
  readonly problem: string;
}

/**
 * Reads every file of a backup and of those that it lies on, and compares them with their manifests.
 * `onBytes` hears how far it is.
 * @throws VirtError operation.aborted
 */
export async function verifyArchive(
  archive: Archive,
  work: { readonly signal?: AbortSignal; readonly onBytes?: (done: number) => void } = {},
): Promise<Finding[]> {
  const findings: Finding[] = [];
  let chain: Archive[];
  try {
    chain = await chainOf(archive);
  } catch (error) {
    return [{ path: archive.path, problem: reasonOf(error) }];
  }
  let done = 0;
  for (const { path, manifest } of chain)
    for (const { directory, ...wanted } of filesOf(manifest)) {
      const where = join(path, directory);
      const problem = await compare(where, wanted, work.signal);
      if (problem !== undefined) findings.push({ path: join(where, wanted.name), problem });
      done += wanted.bytes;
      work.onBytes?.(done);
    }
  return findings;
}

/** Every file that a manifest names; `directory`: below the backup's own. */
export function filesOf({
  disks,
  definition,
  nvram,
  tpm = [],
}: Manifest): (z.output<typeof file> & { readonly directory: string })[] {
  const own = [...disks.map((disk) => disk.file), definition, ...(nvram === undefined ? [] : [nvram])];
  return [
    ...own.map((one) => ({ ...one, directory: '' })),
    ...tpm.map((one) => ({ ...one, directory: tpmDirectory })),
  ];
}

async function compare(
  directory: string,
  wanted: z.output<typeof file>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (wanted.name.includes('/') || wanted.name === '..') return 'its name leads elsewhere';
  try {
    const { size } = await stat(join(directory, wanted.name));
    if (size !== wanted.bytes) return `it has ${size} bytes, not ${wanted.bytes}`;
  } catch (error) {
    return reasonOf(fileError(error, 'look at a file of a backup', join(directory, wanted.name)));
  }
  const found = await describeFile(directory, wanted.name, signal);
  return found.sha256 === wanted.sha256 ? undefined : 'its bytes are not those that were written';
}
