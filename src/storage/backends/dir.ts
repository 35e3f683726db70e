/** Pools of type dir: a directory that is there. */
import { VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { PoolBackend } from '../backend.ts';
import { type BackendParts, directoryOf, directoryVolumes } from './directory-volumes.ts';
import { ensureTarget, removeTarget, requireTarget } from './target.ts';

export function dirBackend(parts: BackendParts): PoolBackend {
  return {
    type: 'dir',
    can: { build: true, delete: true, resize: true, findSources: false },
    ...directoryVolumes(parts),
    isActive: async (pool) => (await statIfPresent(directoryOf(pool))) !== undefined,
    start: (pool) => requireTarget(pool),
    stop: async () => undefined,
    async build(pool, { overwrite }) {
      if (overwrite === true)
        throw new VirtError('request.flags', {
          wanted: `build pool '${pool.name}'`,
          reason: 'a directory is never built over what is there',
        });
      await ensureTarget(pool);
    },
    delete: (pool) => removeTarget(pool),
    async findSources() {
      throw new VirtError('request.unsupported', {
        wanted: 'find storage pool sources',
        reason: 'a directory has no source to be found',
      });
    },
  };
}
