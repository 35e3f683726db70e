/** Events of running guests: what they do, and what is done to their devices. */
import * as z from 'zod';
import { domainIdentity } from '../domain-objects.ts';
import { event } from '../method.ts';

const since = '0.1.0';
const domain = { domain: domainIdentity };

const graphicsEndpoint = z
  .object({ family: z.enum(['ipv4', 'ipv6', 'unix']), node: z.string(), service: z.string() })
  .meta({ id: 'GraphicsEndpoint', description: 'One end of a connection to a display.' });

export const guestEvents = [
  event({
    name: 'domain.watchdog',
    since,
    summary: 'The watchdog fired.',
    payload: () => z.object({ ...domain, action: z.string() }),
  }),
  event({
    name: 'domain.io-error',
    since,
    summary: 'A disk operation failed.',
    payload: () =>
      z.object({
        ...domain,
        device: z.string().describe('Alias of the disk.'),
        path: z.string().nullable().describe('Its image, where that is a file or device.'),
        action: z.string().describe('`stop`, `report` or `ignore`.'),
        reason: z.string().describe("QEMU's words."),
        isFull: z.boolean().describe('There was no room left.'),
      }),
  }),
  event({
    name: 'domain.disk-changed',
    since,
    summary:
      "A guest was started without a medium that was missing, which `startupPolicy='optional'` allows.",
    payload: () =>
      z.object({
        ...domain,
        disk: z.string().describe('As the guest sees it: `sda`.'),
        alias: z.string().nullable().describe('Null for a disk that is not there.'),
        path: z.string().describe('The image that is missing.'),
        reason: z.enum(['drive is empty', 'disk is left out']),
      }),
  }),
  event({
    name: 'domain.migration-pass',
    since,
    summary: "QEMU begins another pass over the guest's memory, on its way to a file.",
    payload: () => z.object({ ...domain, pass: z.int() }),
  }),
  event({
    name: 'domain.memory-written',
    since,
    summary:
      'The memory of a guest is whole in a file, of a save, a snapshot or a dump; what becomes of the guest comes next.',
    payload: () =>
      z.object({
        ...domain,
        job: z.enum(['save', 'snapshot', 'dump']),
        durationMs: z.int(),
        stoppedMs: z.int().describe('How long the guest stood still meanwhile, as QEMU counts it.'),
        setupMs: z.int(),
        totalBytes: z.int().describe("The guest's memory."),
        writtenBytes: z.int().describe('What went to the file.'),
        remainingBytes: z.int(),
        bytesPerSecond: z.int(),
        constantPages: z.int().describe('Pages of one repeated byte, of which only that byte is written.'),
        normalPages: z.int(),
        normalBytes: z.int(),
        pageBytes: z.int().describe('Size of a page.'),
        dirtyPagesPerSecond: z.int().describe('How fast the guest changed its memory.'),
        passes: z.int().describe('How often memory was gone through.'),
      }),
  }),
  event({
    name: 'domain.rtc-changed',
    since,
    summary: 'The guest set its clock.',
    payload: () =>
      z.object({
        ...domain,
        offsetSeconds: z
          .int()
          .describe('How far it is ahead now of UTC, or of what its definition begins with.'),
      }),
  }),
  event({
    name: 'domain.balloon-changed',
    since,
    summary: 'The balloon leaves the guest another amount of memory.',
    payload: () => z.object({ ...domain, memoryBytes: z.int() }),
  }),
  event({
    name: 'domain.tray-changed',
    since,
    summary: 'The tray of a drive was opened or closed.',
    payload: () => z.object({ ...domain, alias: z.string().describe('The drive.'), open: z.boolean() }),
  }),
  event({
    name: 'domain.graphics',
    since,
    summary: 'A client of a display connected, was let in, or left.',
    payload: () =>
      z.object({
        ...domain,
        phase: z.enum(['connect', 'initialize', 'disconnect']),
        local: graphicsEndpoint,
        remote: graphicsEndpoint,
        authScheme: z.string().describe('How the client proved who it is; empty where none was told.'),
        identities: z.array(z.object({ type: z.string(), name: z.string() })),
      }),
  }),
  event({
    name: 'domain.mac-changed',
    since,
    summary: 'The guest gave a network card (virtio) another MAC address.',
    payload: () =>
      z.object({
        ...domain,
        alias: z.string().describe('The card.'),
        previousMac: z.string(),
        mac: z.string(),
      }),
  }),
  event({
    name: 'domain.sleeping',
    since,
    summary: 'The guest went to sleep.',
    payload: () => z.object({ ...domain, to: z.enum(['memory', 'disk']) }),
  }),
  event({
    name: 'domain.woke-up',
    since,
    summary: 'The guest woke up.',
    payload: () => z.object(domain),
  }),
  event({
    name: 'domain.block-job',
    since,
    summary: 'A job on the images of a disk is ready, or has ended; what it changed is stored.',
    payload: z.object({
      ...domain,
      disk: z.string().describe('Target of the disk.'),
      path: z
        .string()
        .nullable()
        .describe('The image that the guest writes to now; null for what is no path.'),
      job: z.enum(['pull', 'commit', 'active-commit', 'copy']),
      status: z
        .enum(['ready', 'completed', 'failed', 'cancelled'])
        .describe('`ready`: both images are the same, and stay so until the job is ended.'),
      error: z.string().nullable(),
    }),
  }),
  event({
    name: 'domain.block-threshold',
    since,
    summary: 'An image was written beyond the byte that `domain.disk.set-threshold` had named; told once.',
    payload: () =>
      z.object({
        ...domain,
        device: z.string().describe("Target of the disk, or QEMU's node where that is not known."),
        path: z.string().nullable(),
        image: z.int().nullable().describe('The number of the image in the running definition.'),
        topmost: z.boolean().describe('It is the image that the guest writes to.'),
        thresholdBytes: z.int(),
        excessBytes: z.int(),
      }),
  }),
  event({
    name: 'domain.memory-failure',
    since,
    summary: "The host's hardware reported broken memory of a guest.",
    payload: () =>
      z.object({
        ...domain,
        recipient: z.enum(['hypervisor', 'guest']),
        action: z.string().describe('`ignore`, `inject`, `fatal` or `reset`.'),
        actionRequired: z.boolean(),
        recursive: z.boolean(),
      }),
  }),
  event({
    name: 'domain.memory-device-size',
    since,
    summary: 'The guest took or gave back memory of a memory device.',
    payload: () => z.object({ ...domain, alias: z.string(), bytes: z.int() }),
  }),
  event({
    name: 'domain.tunable',
    since,
    summary: 'A setting of a running domain was changed: a pin, a limit, a share.',
    payload: () =>
      z.object({
        ...domain,
        parameters: z
          .record(z.string(), z.union([z.number(), z.string()]))
          .describe("What changed, by libvirt's names: `cputune.vcpupin0`, `blkdeviotune.disk`, ..."),
      }),
  }),
  event({
    name: 'domain.agent',
    since,
    summary: 'The guest opened or closed an agent channel.',
    payload: () => z.object({ ...domain, alias: z.string(), connected: z.boolean() }),
  }),
  event({
    name: 'domain.helper-ended',
    since,
    summary:
      'A process that serves a device (passt for a network card) has ended before the guest; the device is dead until the guest is started again.',
    payload: () =>
      z.object({
        ...domain,
        helper: z.string().describe('The program.'),
        alias: z.string().describe('Alias of the device, or empty.'),
      }),
  }),
  event({
    name: 'domain.device-added',
    since,
    summary: 'A running guest was given a device.',
    payload: () => z.object({ ...domain, alias: z.string() }),
  }),
  event({
    name: 'domain.device-removed',
    since,
    summary: 'The guest let go of a device.',
    payload: () => z.object({ ...domain, alias: z.string() }),
  }),
  event({
    name: 'domain.device-removal-failed',
    since,
    summary: 'The guest was asked to let go of a device, and refused.',
    payload: () => z.object({ ...domain, alias: z.string() }),
  }),
] as const;
