/** The objects that methods and events about storage pools and volumes speak of. */
import * as z from 'zod';
import { poolTypes } from '../model/storage/pool/pool.ts';
import { volumeFormats, volumeTypes } from '../model/storage/volume/volume.ts';
import { job, timestamp } from './domain-objects.ts';

export const poolRef = z
  .string()
  .min(1)
  .max(255)
  .meta({ id: 'PoolRef', description: 'Which storage pool: its name or its uuid.' });

export const volumeRef = z
  .string()
  .min(1)
  .max(255)
  .meta({ id: 'VolumeRef', description: 'Which volume of a pool: its name.' });

/** A name a client may give a new pool; stored definitions of others are read more loosely. */
export const newPoolName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$/,
    'must be 1 to 64 of A-Z a-z 0-9 _ . + -, first a letter or digit',
  )
  .meta({
    id: 'PoolName',
    description: 'Name of a pool: 1 to 64 characters of `A-Z a-z 0-9 _ . + -`.',
  });

/** A name a client may give a new volume: it becomes the name of a file. */
export const newVolumeName = z
  .string()
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9_.:+ -]{0,199}$/,
    'must be 1 to 200 of A-Z a-z 0-9 _ . : + - and blank, first a letter, digit or _',
  )
  .meta({
    id: 'VolumeName',
    description: 'Name of a volume: 1 to 200 characters of `A-Z a-z 0-9 _ . : + -` and blank.',
  });

export const bytes = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const poolType = z
  .enum(poolTypes)
  .meta({ id: 'PoolType', description: "Kind of a pool, in libvirt's words." });

export const volumeFormat = z
  .enum(volumeFormats)
  .meta({ id: 'VolumeFormat', description: "Format of a volume, in libvirt's words." });

export const poolIdentity = z
  .object({ uuid: z.guid(), name: z.string() })
  .meta({ id: 'PoolIdentity', description: 'Names one storage pool.' });

export const poolSummary = z
  .object({
    ...poolIdentity.shape,
    type: poolType,
    active: z.boolean(),
    persistent: z.boolean().describe('It has a stored definition and stays when it stops.'),
    autostart: z.boolean().describe('It is started with the daemon.'),
    path: z.string().nullable().describe('Where its volumes are on this host.'),
    source: z.string().nullable().describe('Where they come from: `/dev/sdb1`, `nas:/export`.'),
    capacityBytes: bytes.nullable().describe('Null for a pool that is not active.'),
    allocationBytes: bytes.nullable().describe('What is taken, by anybody.'),
    availableBytes: bytes.nullable(),
    promisedBytes: bytes
      .nullable()
      .describe('Sum of what guests see; more than `capacityBytes` means that the pool is over-committed.'),
    volumes: z.int().nullable().describe('How many volumes it has.'),
    job: job.nullable(),
  })
  .meta({ id: 'PoolSummary', description: 'A storage pool in a list.' });

export const poolDetails = z
  .object({
    ...poolSummary.shape,
    startedAt: timestamp.nullable(),
    refreshedAt: timestamp.nullable().describe('When its volumes were read as a whole.'),
    trash: z
      .object({ volumes: z.int(), allocationBytes: bytes })
      .nullable()
      .describe('Deleted volumes that still take space; null where nothing is kept, or cannot be read.'),
  })
  .meta({ id: 'PoolDetails' });

export const volumeSummary = z
  .object({
    name: z.string(),
    pool: z.string().describe('Name of its pool.'),
    key: z.string().describe('Names it on this host for good.'),
    path: z.string(),
    type: z.enum(volumeTypes),
    format: volumeFormat,
    capacityBytes: bytes.describe('What a guest sees.'),
    allocationBytes: bytes.describe('What it takes now.'),
    problem: z.string().nullable().describe('What is wrong with it.'),
  })
  .meta({ id: 'VolumeSummary', description: 'A volume in a list.' });

export const trashed = z
  .object({
    id: z.string().describe('Names it in the trash of its pool.'),
    name: z.string(),
    pool: z.string(),
    format: volumeFormat,
    capacityBytes: bytes.describe('What a guest saw.'),
    allocationBytes: bytes.describe('What it still takes.'),
    deletedAt: timestamp,
    until: timestamp.describe('When it will be gone for good.'),
  })
  .meta({ id: 'TrashedVolume', description: 'A deleted volume that can be restored.' });

export const volumeUser = z
  .object({
    type: z.enum(['domain', 'volume']),
    name: z.string(),
    pool: z.string().nullable().describe('For a volume: the name of its pool.'),
    active: z.boolean().describe('A guest runs on it.'),
    as: z.array(z.string()).describe('What for: `disk vda`, `nvram`, `below default/web.qcow2`.'),
  })
  .meta({ id: 'VolumeUser', description: 'Who depends on a volume.' });

const headerWord = z.string().nullable();

/** What the header of an image says of itself (storage/image-header/details.ts); null where its format has no such thing. */
export const volumeHeader = z
  .object({
    virtualBytes: bytes.describe('What a guest sees.'),
    kind: headerWord.describe('`dynamic`, `fixed`, or the createType of a VMDK.'),
    clusterBytes: bytes.nullable().describe('The unit in which space is taken: cluster, grain, block.'),
    refcountBits: z.int().nullable().describe('qcow2: how many bits count the uses of a cluster.'),
    backing: z
      .object({ name: z.string(), format: headerWord })
      .nullable()
      .describe('The image below, as it is named.'),
    dataFile: headerWord.describe('Another file that has the data; empty when it has no name.'),
    extents: z
      .array(z.object({ name: z.string(), kind: z.string(), sizeBytes: bytes }))
      .describe('Other files that have the data (VMDK).'),
    encryption: z.object({ method: z.string(), cipher: headerWord }).nullable(),
    snapshots: z.int().nullable().describe('How many snapshots are inside.'),
    bitmaps: z.int().nullable().describe('How many dirty bitmaps are inside.'),
    compression: headerWord,
    features: z.array(z.string()).describe('`lazy-refcounts`, `extended-l2`, `dirty`, `corrupt`, ...'),
    label: headerWord.describe('Label of an ISO or LUKS volume.'),
    uuid: headerWord,
    bootsOn: z
      .array(z.enum(['bios', 'efi', 'other']))
      .nullable()
      .describe('What an ISO boots on.'),
    truncated: z.boolean().describe('The file is shorter than its header says.'),
  })
  .meta({ id: 'VolumeHeader', description: "What an image's own header says." });

export const volumeDetails = z
  .object({
    ...volumeSummary.shape,
    physicalBytes: bytes.describe('Length of the file or device.'),
    mode: z.int().nullable().describe('File mode, as a number.'),
    owner: z.int().nullable(),
    group: z.int().nullable(),
    modifiedAt: timestamp.nullable(),
    backing: z
      .object({ path: z.string(), format: volumeFormat.nullable() })
      .nullable()
      .describe('The image below.'),
    encryption: z.string().nullable().describe('`luks`, `aes`.'),
    compat: z.string().nullable().describe('Version of qcow2: `0.10` or `1.1`.'),
    clusterSizeBytes: bytes.nullable(),
    lazyRefcounts: z.boolean(),
    extendedL2: z.boolean(),
    header: volumeHeader
      .nullable()
      .describe('Read when it is asked for; null for formats without a header, and where it cannot be read.'),
    usedBy: z.array(volumeUser),
    job: job.nullable(),
  })
  .meta({ id: 'VolumeDetails' });

/** What can be wrong with a pool whose volumes are meant. */
export const activePoolErrors = ['pool.not-found', 'pool.quarantined', 'pool.inactive'] as const;
