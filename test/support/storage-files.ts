/** Pools and files for tests of the storage service over real directories. */
import { utimesSync, writeFileSync } from 'node:fs';
import { dirPool, type StorageRig } from './storage-rig.ts';

/** Writes a file that is old enough to be judged for good. */
export function put(path: string, bytes: Uint8Array | string): void {
  writeFileSync(path, bytes);
  const then = new Date(Date.now() - 60_000);
  utimesSync(path, then, then);
}

/** An active pool in a directory of its own. */
export async function started(rig: StorageRig, name = 'p') {
  const path = rig.place(name);
  const { pool } = await rig.storage.definitions.define(dirPool(name, path), 'strict');
  await rig.storage.lifecycle.start(pool);
  return { pool, path };
}

/** The names of a pool's volumes. */
export const namesOf = (rig: StorageRig, name = 'p') =>
  rig.storage.volumes.list(rig.storage.find(name)).map((volume) => volume.name);
