/** Methods of images and imports onto their services. */
import type { Params, Result } from '../../../api/index.ts';
import type { Logger } from '../../../base/log.ts';
import { formatImageReference, parseImageReference } from '../../../model/storage/image-reference.ts';
import { parseChecksum } from '../../../storage/download/checksum.ts';
import type { CatalogueEntry, ImageService } from '../../services/images.ts';
import type { Pool } from '../../services/pool.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { Imported, ImportWish } from '../../services/volume-import.ts';
import type { PulledImage } from '../../state/pulled-images.ts';
import type { Handlers } from './handlers.ts';
import { errorObject } from './protocol.ts';
import { volumeSummaryOf } from './storage-shapes.ts';

type ImageHandlers = Pick<Handlers, 'image.list' | 'image.pull' | 'volume.import' | 'volume.import-file'>;

export function bindImages(storage: StorageService, images: ImageService, log: Logger): ImageHandlers {
  return {
    'image.list': async () => {
      await storage.whenUp();
      return { images: (await images.list()).map(entryOf) };
    },
    'image.pull': async ({ image, pool }, { signal }) => {
      await storage.whenUp();
      const pulled = await images.pull(parseImageReference(image), pool, signal);
      return {
        image: formatImageReference(pulled.record),
        new: pulled.isNew,
        pulled: pulledOf(pulled.record, pulled.found.pool.name),
      };
    },
    'volume.import': async ({ pool, url, ...wish }, { signal }) => {
      await storage.whenUp();
      const found = storage.find(pool);
      return importedOf(found, await storage.imports.fromUrl(found, wishOf(wish), { url, signal }));
    },
    'volume.import-file': async ({ pool, ...wish }) => {
      await storage.whenUp();
      const found = storage.find(pool);
      const { jobId, stream, finished, answer } = await storage.imports.fromClient(found, wishOf(wish));
      void finished.then(
        (imported) => answer(JSON.stringify({ result: importedOf(found, imported) })),
        (error: unknown) => {
          const onBug = (bug: unknown) => log.error({ err: bug, job: jobId }, 'an import met a bug');
          answer(JSON.stringify({ error: errorObject(error, onBug) }));
        },
      );
      return { result: { job: jobId }, stream };
    },
  };
}

function wishOf({ checksum, ...wish }: Omit<Params<'volume.import-file'>, 'pool'>): ImportWish {
  return { ...wish, ...(checksum !== undefined && { checksum: parseChecksum(checksum) }) };
}

function importedOf(pool: Pool, { volume, sha256, ...imported }: Imported): Result<'volume.import'> {
  return { ...imported, sha256: sha256 ?? null, volume: volumeSummaryOf(pool, volume) };
}

function entryOf({ distribution, version, pulled, ...entry }: CatalogueEntry) {
  return {
    image: formatImageReference({ distribution, version }),
    title: entry.title,
    aliases: [...entry.aliases],
    architectures: [...entry.architectures],
    user: entry.user,
    mirror: entry.mirror,
    pulled: pulled.map((record) => pulledOf(record, record.poolName)),
  };
}

function pulledOf(record: PulledImage, pool: string) {
  const { arch, volume, url, checksum, sizeBytes, pulledAtMs } = record;
  return { arch, pool, volume, url, checksum, sizeBytes, pulledAt: new Date(pulledAtMs).toISOString() };
}
