/**
 * The trash of a pool's directory, `.vireo-trash`: each volume under a name of its own, with a small file beside that says
 * what it was. It is on the same file system, so nothing is copied, and nothing is freed before it is emptied.
 */
import { lstat, mkdir, readdir, rename, unlink, writeFile } from 'node:fs/promises';
import { nanoid } from 'nanoid';
import * as z from 'zod';
import { errnoOf, fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { readText } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { trashDirectory, volumeNameProblem } from '../../model/storage/names.ts';
import { volumeFormats } from '../../model/storage/volume/volume.ts';
import type { Trash, TrashedVolume, VolumeFacts } from '../backend.ts';
import { PinnedDirectory } from '../directory-pin.ts';
import { giveName } from './create.ts';

const recordSchema = z.strictObject({
  version: z.literal(1),
  name: z.string().refine((name) => volumeNameProblem(name) === undefined),
  format: z.enum(volumeFormats),
  capacityBytes: z.number().int().min(0),
  deletedAtMs: z.number(),
});

const idRule = /^[0-9a-z]{6,12}-[A-Za-z0-9_-]{8}$/;
const MAX_RECORD_BYTES = 64 * 1024;

/** The trash of the directory that `pathOf` tells. */
export function directoryTrash(directoryPath: string, log: Logger): Trash {
  return {
    put: (volume) => put(directoryPath, volume),
    list: () => list(directoryPath, log),
    restore: (id, name) => restore(directoryPath, id, name),
    remove: (ids) => remove(directoryPath, ids),
  };
}

/** Opens the trash, never through a link, and only when it is ours alone. Undefined when there is none. */
async function openTrash(
  pool: PinnedDirectory,
  wanted: string,
  options: { readonly make: boolean },
): Promise<PinnedDirectory | undefined> {
  const path = pool.at(trashDirectory);
  if (options.make)
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw fileError(error, wanted, `${pool.path}/${trashDirectory}`);
    });
  let trash: PinnedDirectory;
  try {
    trash = await PinnedDirectory.open(path, wanted, { isLinkRefused: true });
  } catch (error) {
    if (!options.make && error instanceof VirtError && error.code === 'file.not-found') return undefined;
    throw error;
  }
  const stats = await trash.stat();
  const isOurs = Number(stats.uid) === process.getuid?.() && (Number(stats.mode) & 0o022) === 0;
  if (isOurs) return trash;
  await trash.close();
  throw new VirtError('file.denied', {
    wanted,
    reason: `${pool.path}/${trashDirectory} belongs to somebody else, or others may write to it`,
    hint: 'take it away, or delete for good (--now)',
  });
}

async function put(directoryPath: string, volume: VolumeFacts): Promise<TrashedVolume> {
  const wanted = `put volume '${volume.name}' into the trash`;
  await using pool = await PinnedDirectory.open(directoryPath, wanted);
  await using trash = await openTrash(pool, wanted, { make: true });
  if (trash === undefined) throw new Error('the trash was made');
  const deletedAtMs = Date.now();
  const id = `${deletedAtMs.toString(36)}-${nanoid(8)}`;
  const { name, format, capacityBytes, allocationBytes } = volume;
  const record = { version: 1, name, format, capacityBytes, deletedAtMs } as const;
  try {
    await writeFile(trash.at(`${id}.json`), JSON.stringify(record), { flag: 'wx', mode: 0o600, flush: true });
    await rename(pool.at(name), trash.at(id));
    await trash.sync();
    await pool.sync();
  } catch (error) {
    await unlink(trash.at(`${id}.json`)).catch(() => undefined); // The first error is the one to tell.
    throw putError(error, wanted, `${directoryPath}/${name}`);
  }
  return { id, name, format, capacityBytes, deletedAtMs, allocationBytes };
}

function putError(error: unknown, wanted: string, path: string): VirtError {
  const plain = fileError(error, wanted, path);
  if (plain.code === 'file.not-found')
    return new VirtError('volume.not-found', { wanted, reason: 'its file is gone', cause: error });
  if (plain.code !== 'file.no-space') return plain;
  const { reason } = plain;
  return new VirtError('file.no-space', { wanted, reason, hint: 'delete for good (--now)', cause: error });
}

async function list(directoryPath: string, log: Logger): Promise<TrashedVolume[]> {
  const wanted = 'look into the trash of a pool';
  await using pool = await PinnedDirectory.open(directoryPath, wanted);
  await using trash = await openTrash(pool, wanted, { make: false });
  if (trash === undefined) return [];
  const found: TrashedVolume[] = [];
  for (const id of (await readdir(trash.self)).filter((name) => idRule.test(name))) {
    try {
      found.push(await entryOf(trash, id));
    } catch (error) {
      log.warn(
        { path: `${directoryPath}/${trashDirectory}/${id}`, reason: reasonOf(error) },
        'trash nobody knows',
      );
    }
  }
  return found.sort((a, b) => a.deletedAtMs - b.deletedAtMs);
}

async function entryOf(trash: PinnedDirectory, id: string): Promise<TrashedVolume> {
  const stats = await lstat(trash.at(id));
  const text = await readText(trash.at(`${id}.json`), MAX_RECORD_BYTES);
  const { version: _, ...record } = recordSchema.parse(JSON.parse(text));
  // st_blocks counts units of 512 bytes (stat(2)).
  return { id, ...record, allocationBytes: stats.blocks * 512 };
}

async function restore(directoryPath: string, id: string, name: string): Promise<void> {
  const wanted = `restore volume '${name}'`;
  await using pool = await PinnedDirectory.open(directoryPath, wanted);
  await using trash = await openTrash(pool, wanted, { make: false });
  if (trash === undefined || !idRule.test(id)) throw gone(wanted);
  try {
    await giveName({ directory: trash, name: id }, { directory: pool, name }, wanted);
    await pool.sync();
    await unlink(trash.at(`${id}.json`));
    await trash.sync();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw gone(wanted);
    throw fileError(error, wanted, `${directoryPath}/${name}`);
  }
}

function gone(wanted: string): VirtError {
  return new VirtError('volume.not-found', {
    wanted,
    reason: 'it is not in the trash',
    hint: "'vireo volume trash list' shows what is",
  });
}

/** Takes entries away for good; what is gone already is no error. */
async function remove(directoryPath: string, ids: readonly string[]): Promise<void> {
  const wanted = 'empty the trash of a pool';
  await using pool = await PinnedDirectory.open(directoryPath, wanted);
  await using trash = await openTrash(pool, wanted, { make: false });
  if (trash === undefined) return;
  for (const name of ids.filter((id) => idRule.test(id)).flatMap((id) => [id, `${id}.json`]))
    await unlink(trash.at(name)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT')
        throw fileError(error, wanted, `${directoryPath}/${trashDirectory}/${name}`);
    });
  await trash.sync();
}
