/** Downloads: jobs on a volume whose bytes go to a connection. */
import type { Duplex } from 'node:stream';
import { fileError, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { Download } from '../../storage/transfer/download.ts';
import { openVolumeFile, volumeBytes } from '../../storage/volume-file.ts';
import { runs } from './volume-users.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

export interface DownloadWish {
  readonly offset: number;
  readonly length?: number | undefined;
  readonly sparse: boolean;
  readonly checksum: boolean;
}

export interface StartedDownload {
  readonly jobId: string;
  readonly stream: Duplex;
  /** Takes back a buffer of the stream that nobody looks at any more, to read into it again. */
  readonly giveBack: (bytes: Buffer) => void;
  readonly length: number;
  readonly totalBytes: number;
  readonly warnings: readonly string[];
  /** Settles at its end, however that came. Never rejects. */
  readonly ended: Promise<void>;
}

/** Begins a download. @throws VirtError volume.busy, request.invalid, file.* */
export async function beginDownload(
  volumes: Volumes,
  found: FoundVolume,
  wish: DownloadWish,
): Promise<StartedDownload> {
  const { pool, volume } = found;
  const warnings = (await volumes.users(found))
    .filter(runs)
    .map(({ name }) => `domain '${name}' runs and may write meanwhile: the bytes may not fit together`);
  const { promise, resolve, reject } = Promise.withResolvers<Omit<StartedDownload, 'ended'>>();
  const send = async (job: RunningJob) => {
    const wanted = `download volume '${volume.name}'`;
    const handle = await openVolumeFile(volume, 'read', wanted);
    try {
      const totalBytes = await volumeBytes(handle);
      const length = lengthOf(wish, totalBytes, wanted);
      job.progress({ step: 'sending', total: length });
      const download = new Download({
        ...{ handle, length, start: wish.offset, isFramed: wish.sparse, hasChecksum: wish.checksum },
        signal: job.signal,
        onProgress: (done) => job.progress({ done }),
      });
      const giveBack = (bytes: Buffer) => download.giveBack(bytes);
      resolve({ jobId: job.id, stream: download.stream, giveBack, length, totalBytes, warnings });
      await download.sent;
    } catch (error) {
      throw fileError(error, wanted, volume.path);
    } finally {
      await handle.close();
    }
  };
  const options = { isCancellable: true, unit: 'bytes' } as const;
  // After the beginning the stream tells of a failure.
  const ended = volumes.runJob(pool, volume.name, 'download', send, options).catch(reject);
  return { ...(await promise), ended };
}

function lengthOf({ offset, length }: DownloadWish, totalBytes: number, wanted: string): number {
  const most = totalBytes - offset;
  if (most >= 0 && (length ?? 0) <= most) return length ?? most;
  throw new VirtError('request.invalid', {
    wanted,
    reason: `the volume has ${totalBytes} bytes; what is asked for ends beyond`,
  });
}
