/** Sends a local image to the daemon, which makes a volume of it. */
import type { VireoClient } from './client.ts';
import { asObject, readAnswer } from './client-answer.ts';
import { type ImportEnd, importEnd } from './image.ts';
import type { ParamsInput } from './index.ts';
import {
  destroyOn,
  lastLine,
  send,
  signalOf,
  type TransferOptions,
  type UploadSource,
} from './volume-streams.ts';

/**
 * Sends a file or stream to be unpacked, checked and made a volume. `onSent` is called when all has gone and the daemon
 * works on it.
 * @throws VirtError with the daemon's code; stream.failed when the connection broke
 */
export async function importVolume(
  client: VireoClient,
  source: {
    readonly from: UploadSource['from'];
    readonly params: ParamsInput<'volume.import-file'>;
    readonly onSent?: () => void;
  },
  options: TransferOptions = {},
): Promise<ImportEnd> {
  const { stream } = await client.upgrade('volume.import-file', source.params, signalOf(options));
  const end = lastLine(stream);
  const stop = destroyOn(stream, options.signal);
  try {
    const sent = send(stream, source.from, { isFramed: true, skip: 0, options }).then(source.onSent);
    await Promise.race([sent, end]);
    const answer = readAnswer(asObject(JSON.parse(await end)));
    if ('error' in answer) throw answer.error;
    return importEnd.parse(answer.result);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    stop();
    stream.destroy();
  }
}
