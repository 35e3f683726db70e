/** Volumes that are files in a directory: what pools of types dir, fs and netfs share. */
import { VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import type { PoolBackend } from '../backend.ts';
import { createFile, removeFile, sweepDirectory } from '../directory/create.ts';
import { directorySpace, lookAtOne, namesIn, scanDirectory } from '../directory/scan.ts';
import { directoryTrash } from '../directory/trash.ts';
import { watchDirectory } from '../directory/watch.ts';
import type { ImageTools } from '../image-tools.ts';
import type { Tools } from '../tools.ts';

/** What every backend is made with. */
export interface BackendParts {
  readonly images: ImageTools;
  /** How programs are run; tests bring their own. */
  readonly tools: Tools;
  readonly log: Logger;
}

/** The directory of a pool. */
export function directoryOf(pool: CompletePoolDef): string {
  const path = pool.target?.path;
  if (path === undefined) throw new Error(`pool '${pool.name}' has no target path`);
  return path;
}

type DirectoryVolumes = Pick<
  PoolBackend,
  | 'volumeFormats'
  | 'scan'
  | 'look'
  | 'space'
  | 'createVolume'
  | 'fillVolume'
  | 'deleteVolume'
  | 'resizeVolume'
  | 'watch'
  | 'trash'
  | 'sweep'
>;

export function directoryVolumes({ images, log }: BackendParts): DirectoryVolumes {
  return {
    volumeFormats: ['raw', 'qcow2', 'qed', 'vmdk', 'vdi', 'vpc', 'luks'],
    scan: (pool, context) => scanDirectory(directoryOf(pool), context),
    look: (pool, name, context) => lookAtOne(directoryOf(pool), name, context),
    space: (pool) => directorySpace(directoryOf(pool)),
    createVolume: (pool, volume, work) =>
      createFile(directoryOf(pool), volume, (path) => images.create(path, volume, work), work),
    fillVolume: (pool, volume, fill, work) => createFile(directoryOf(pool), volume, fill, work),
    deleteVolume: (pool, volume) => removeFile(directoryOf(pool), volume.name),
    resizeVolume: (_pool, volume, request, work) => {
      if (volume.type !== 'file')
        throw new VirtError('definition.unsupported', {
          wanted: `resize volume '${volume.name}'`,
          reason: 'it is a device, whose size is decided elsewhere',
        });
      return images.resize(request, work);
    },
    watch: (pool, onChange) => watchDirectory(directoryOf(pool), onChange, log),
    trash: (pool) => directoryTrash(directoryOf(pool), log),
    async sweep(pool) {
      const path = directoryOf(pool);
      const count = await sweepDirectory(path, await namesIn(path, (name) => name.startsWith('.')));
      if (count > 0)
        log.info({ pool: pool.name, count }, 'unfinished volumes of an earlier daemon were removed');
    },
  };
}
