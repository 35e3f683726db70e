/** Upload and download of volumes: methods that turn the connection into a byte stream (docs/volume-streams.md). */
import * as z from 'zod';
import { method } from './method.ts';
import {
  activePoolErrors,
  bytes,
  newVolumeName,
  poolRef,
  volumeFormat,
  volumeRef,
  volumeSummary,
} from './pool-objects.ts';

const since = '0.1.0';

const transferErrors = [
  'volume.busy',
  'request.invalid',
  'request.busy',
  'definition.unsupported',
  'file.denied',
  'file.failed',
  'file.no-space',
] as const;

const sparse = z
  .boolean()
  .default(false)
  .describe('The stream is made of frames, in which holes take no bytes; else it is the plain bytes.');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits in lower case');

/** The last line of an upload: a JSON-RPC response of its own, without an id. */
export const uploadEnd = z
  .object({
    volume: volumeSummary,
    bytes: bytes.describe('How many bytes came over this connection, holes counted.'),
    sha256: sha256.nullable().describe('Of the whole upload; null when it was not wanted.'),
    warnings: z.array(z.string()).describe('What may surprise later.'),
  })
  .meta({ id: 'UploadEnd', description: 'What came of an upload.' });

export const volumeTransferMethods = [
  method({
    name: 'volume.upload',
    since,
    summary: 'Takes the bytes of a volume from the client.',
    description:
      'After the response line the client sends bytes, and then reads one line of JSON: `{"result": UploadEnd}` or `{"error": …}` as in a response. Without `offset` the volume is made, or replaced, when all has come and nothing is left of an upload that broke off, except what `resumable` keeps for a day. With `offset` a raw volume is written in place.',
    access: 'path',
    upgrade: true,
    params: () =>
      z.strictObject({
        pool: poolRef,
        volume: z.union([newVolumeName, volumeRef]),
        offset: bytes
          .optional()
          .describe('Write in place into a raw volume that is there, from this byte on.'),
        length: bytes
          .optional()
          .describe('How many bytes come in all, holes counted. May be left out only with `sparse`.'),
        sparse,
        format: volumeFormat
          .optional()
          .describe('What the bytes are; else what the volume was before, or what they look like.'),
        overwrite: z.boolean().default(false).describe('Replace a volume of that name.'),
        resumable: z
          .boolean()
          .default(false)
          .describe('Keep what has come for a day when the upload breaks off.'),
        resume: z
          .string()
          .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be what an earlier upload gave')
          .optional()
          .describe('Go on with an upload that broke off: what it gave as `resume`.'),
        checksum: z.boolean().default(true).describe('Compute the SHA-256 of what comes.'),
        sha256: sha256.optional().describe('What it must be, or the upload fails.'),
      }),
    result: () =>
      z.object({
        job: z.string().describe('The job, for `job.cancel`.'),
        offset: bytes.describe(
          'How many bytes of an earlier attempt are there: the client sends what follows.',
        ),
        resume: z.string().nullable().describe('Names the upload if it must be resumed.'),
      }),
    errors: [...activePoolErrors, 'volume.not-found', 'volume.exists', 'volume.in-use', ...transferErrors],
  }),
  method({
    name: 'volume.download',
    since,
    summary: 'Sends the bytes of a volume to the client.',
    description:
      'After the response line come `length` bytes and one line of JSON, `{"sha256": …}`; with `sparse` frames, of which the last has the checksum. These are the bytes of the file or device, not what a guest sees of it.',
    access: 'secret',
    upgrade: true,
    params: () =>
      z.strictObject({
        pool: poolRef,
        volume: volumeRef,
        offset: bytes.default(0).describe('The first byte.'),
        length: bytes.optional().describe('How many bytes; to the end when not given.'),
        sparse,
        checksum: z.boolean().default(true).describe('Compute the SHA-256 of what is sent.'),
      }),
    result: () =>
      z.object({
        job: z.string().describe('The job, for `job.cancel`.'),
        length: bytes.describe('How many bytes come, holes counted.'),
        totalBytes: bytes.describe('Length of the whole file or device.'),
        format: volumeFormat,
        warnings: z.array(z.string()).describe('A guest that runs may write meanwhile.'),
      }),
    errors: [...activePoolErrors, 'volume.not-found', ...transferErrors],
  }),
] as const;
export type UploadEnd = z.output<typeof uploadEnd>;
