/** Upload and download onto the storage service: the connection becomes the stream of bytes. */
import { reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { StartedUpload, Uploaded } from '../../services/volume-upload.ts';
import { poolOf, volumeOf } from './find-storage.ts';
import type { Handlers } from './handlers.ts';
import { errorObject } from './protocol.ts';
import { volumeSummaryOf } from './storage-shapes.ts';

type TransferHandlers = Pick<Handlers, 'volume.upload' | 'volume.download'>;

export function bindVolumeTransfers(storage: StorageService, log: Logger): TransferHandlers {
  return {
    'volume.upload': async ({ pool, volume, ...wish }) => {
      const found = await poolOf(storage, pool);
      const upload = await storage.volumeTransfers.upload(found, volume, wish);
      const shown = ({ volume: made, bytes, sha256, warnings }: Uploaded) => ({
        volume: volumeSummaryOf(found, made),
        bytes,
        sha256: sha256 ?? null,
        warnings: [...warnings],
      });
      void answerAtEnd(upload, shown, log);
      const { jobId, offset, resume, stream } = upload;
      return { result: { job: jobId, offset, resume: resume ?? null }, stream };
    },
    'volume.download': async ({ pool, volume, ...wish }) => {
      const found = await volumeOf(storage, { pool, volume });
      const { jobId, stream, length, totalBytes, warnings } = await storage.volumeTransfers.download(
        found,
        wish,
      );
      const { format } = found.volume;
      return { result: { job: jobId, length, totalBytes, format, warnings: [...warnings] }, stream };
    },
  };
}

/** The last line of an upload: what came of it, in the form of a response. */
async function answerAtEnd(
  upload: StartedUpload,
  shown: (uploaded: Uploaded) => unknown,
  log: Logger,
): Promise<void> {
  try {
    upload.answer(JSON.stringify({ result: shown(await upload.finished) }));
  } catch (error) {
    log.debug({ job: upload.jobId, reason: reasonOf(error) }, 'upload failed');
    const object = errorObject(error, (bug) =>
      log.error({ err: bug, job: upload.jobId }, 'an upload met a bug'),
    );
    upload.answer(JSON.stringify({ error: object }));
  }
}
