/** Sends a local image to the daemon, which makes a volume of it. */
import type { VireoClient } from './client.ts';
import { type ImportEnd, importEnd } from './image.ts';
import type { ParamsInput } from './index.ts';
import { answerTo, send, signalOf, type TransferOptions, type UploadSource } from './volume-streams.ts';

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
  const sending = () => send(stream, source.from, { isFramed: true, skip: 0, options }).then(source.onSent);
  return importEnd.parse(await answerTo(stream, sending, options));
}
