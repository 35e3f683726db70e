/** Images of the catalogue, and volumes whose bytes come from a server or from the client's own file. */
import * as z from 'zod';
import { timestamp } from './domain-objects.ts';
import { method } from './method.ts';
import {
  activePoolErrors,
  bytes,
  newVolumeName,
  poolRef,
  volumeFormat,
  volumeSummary,
} from './pool-objects.ts';

const since = '0.1.0';

export const imageReference = z
  .string()
  .regex(/^[a-z]+(:[A-Za-z0-9._-]{1,32})?(:[a-z0-9_]{1,16})?$/, 'must be NAME:VERSION, like debian:13')
  .meta({
    id: 'ImageReference',
    description:
      'An image of the catalogue: `debian:13`, `ubuntu:noble`, `fedora` (the latest), `alpine:3.22:aarch64`.',
  });

const checksum = z
  .string()
  .regex(/^((sha256|sha384|sha512):)?[0-9A-Fa-f]{64,128}$/, 'must be like sha256:9f86d0…')
  .optional()
  .describe(
    'What the bytes must be as they come, before they are unpacked: `sha256:…`, `sha384:…`, `sha512:…`.',
  );

const importErrors = [
  ...activePoolErrors,
  'volume.exists',
  'volume.busy',
  'image.unsafe',
  'download.checksum',
  'request.invalid',
  'request.too-large',
  'definition.unsupported',
  'file.no-space',
  'file.denied',
  'file.failed',
  'program.missing',
  'program.failed',
  'operation.aborted',
] as const;
const downloadErrors = [...importErrors, 'download.refused', 'download.failed'] as const;

export const pulledImage = z
  .object({
    arch: z.string(),
    pool: z.string().describe('Name of the pool where it is.'),
    volume: z.string(),
    url: z.string(),
    checksum: z.string().describe('As the distribution published it.'),
    sizeBytes: bytes,
    pulledAt: timestamp,
  })
  .meta({ id: 'PulledImage', description: 'An image of the catalogue that is here.' });

const catalogueEntry = z
  .object({
    image: imageReference,
    title: z.string(),
    aliases: z.array(z.string()).describe('Other words for the version.'),
    architectures: z.array(z.string()),
    user: z.string().describe('Who cloud-init makes when nobody is named.'),
    mirror: z.string().describe('The server that is asked.'),
    pulled: z.array(pulledImage).describe('The newest first.'),
  })
  .meta({ id: 'CatalogueEntry', description: 'A version of a distribution.' });

/** What came of an import. */
const imported = {
  volume: volumeSummary,
  bytes: bytes.describe('How many came.'),
  sha256: z
    .string()
    .nullable()
    .describe('Of what came; null for a file of the client with holes when no checksum was given.'),
  sourceFormat: volumeFormat.describe('What it was.'),
};

/** The last line of `volume.import-file`: a JSON-RPC response of its own, without an id. */
export const importEnd = z.object(imported).meta({ id: 'ImportEnd', description: 'What came of an import.' });
export type ImportEnd = z.output<typeof importEnd>;

const wish = {
  pool: poolRef,
  name: newVolumeName.describe('Name of the new volume.'),
  format: volumeFormat
    .optional()
    .describe(
      'What the volume becomes: when not given qcow2, raw and ISO images stay so, others become qcow2.',
    ),
  sourceFormat: volumeFormat.optional().describe('What the image is; its first bytes tell when not given.'),
  checksum,
  capacityBytes: bytes.optional().describe('Make it larger for its guest than the image is.'),
};

const unpacking =
  'gzip, zstd, xz and bzip2 are unpacked. An image that names other files (a backing file, external data, extents) or is encrypted is refused with `image.unsafe`.';

export const imageMethods = [
  method({
    name: 'image.list',
    since,
    summary: 'Lists the cloud images that the catalogue knows, and which of them are here.',
    description: 'Asks no server. Newer versions than those listed can be pulled by their number.',
    access: 'query',
    params: () => z.strictObject({}),
    result: () => z.object({ images: z.array(catalogueEntry) }),
    errors: [],
  }),
  method({
    name: 'image.pull',
    since,
    summary: 'Brings a cloud image into a pool, as its distribution publishes it now.',
    description:
      'Its checksum is that of the published index. One that is here already is only checked. The volume is written by nobody any more: guests lie on top of it. Called off when the client leaves; what has come is kept for a day.',
    access: 'modify',
    params: () => z.strictObject({ image: imageReference, pool: poolRef.default('default') }),
    result: () =>
      z.object({
        image: imageReference.describe('With the version and the architecture that were meant.'),
        new: z.boolean().describe('False when it was here already.'),
        pulled: pulledImage,
      }),
    errors: [...downloadErrors, 'image.not-found'],
  }),
  method({
    name: 'volume.import',
    since,
    summary: 'Makes a volume of an image that a server has.',
    description: `A job with progress in bytes. Only http and https, and only what \`allow_import_urls\` in the configuration lets through. ${unpacking} Called off when the client leaves; what has come is kept for a day, and the next import of that URL goes on with it.`,
    access: 'path',
    params: () =>
      z.strictObject({
        ...wish,
        url: z.string().min(1).max(4096).describe('Where it is.'),
      }),
    result: () => z.object(imported),
    errors: downloadErrors,
  }),
  method({
    name: 'volume.import-file',
    since,
    summary: 'Makes a volume of an image that the client sends.',
    description: `After the response line the client sends frames (docs/volume-streams.md), and then reads one line of JSON: \`{"result": ImportEnd}\` or \`{"error": …}\` as in a response. ${unpacking}`,
    access: 'path',
    upgrade: true,
    params: () => z.strictObject(wish),
    result: () => z.object({ job: z.string().describe('The job, for `job.cancel`.') }),
    errors: importErrors,
  }),
] as const;
