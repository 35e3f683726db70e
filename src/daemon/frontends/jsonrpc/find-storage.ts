/** Pools and volumes by what a client calls them. */
import type { Pool } from '../../services/pool.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { FoundVolume } from '../../services/volumes.ts';

/** Right after a start of the daemon pools are still on their way up. */
export async function poolOf(storage: StorageService, ref: string): Promise<Pool> {
  await storage.whenUp();
  return storage.find(ref);
}

export async function volumeOf(
  storage: StorageService,
  ref: { readonly pool: string; readonly volume: string },
): Promise<FoundVolume> {
  const pool = await poolOf(storage, ref.pool);
  return { pool, volume: storage.volumes.find(pool, ref.volume) };
}
