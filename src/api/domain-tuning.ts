/** Methods that change what a domain has of its host: memory, CPUs, IO threads, limits of disks. */
import * as z from 'zod';
import { changeTargets, domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const changeErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.active',
  'domain.transient',
  'domain.busy',
  'domain.no-device',
  'request.invalid',
  'file.no-space',
  'qmp.failed',
  'qmp.timeout',
] as const;

const cpuSet = z
  .string()
  .regex(/^[0-9,^-]{1,1000}$/, 'must be a set of processors like 0-3,^2,8')
  .describe('Processors of the host: `0-3,^2,8`.');
const pinTarget = z
  .union([
    z.strictObject({ vcpu: z.int().min(0).max(65_534).describe('A virtual CPU.') }),
    z.strictObject({ iothread: z.int().min(1).max(65_535).describe('An IO thread.') }),
    z.literal('emulator').describe('All other threads of QEMU.'),
  ])
  .meta({ id: 'PinTarget', description: 'Which threads of a guest.' });
const disk = z
  .string()
  .min(1)
  .max(4096)
  .describe('The disk: its target (`vda`), its alias, or the path of its image.');
const limit = z.int().nonnegative().optional();
const iothreadId = z.int().min(1).max(65_535).describe('Number of the IO thread.');

/** The limits of a disk, by the words of a definition. */
export const diskLimits = z
  .strictObject({
    totalBytesSec: limit,
    readBytesSec: limit,
    writeBytesSec: limit,
    totalIopsSec: limit,
    readIopsSec: limit,
    writeIopsSec: limit,
    totalBytesSecMax: limit,
    readBytesSecMax: limit,
    writeBytesSecMax: limit,
    totalIopsSecMax: limit,
    readIopsSecMax: limit,
    writeIopsSecMax: limit,
    sizeIopsSec: limit,
    groupName: z.string().min(1).max(128).optional().describe('Disks of one group share its limits.'),
    totalBytesSecMaxLength: limit,
    readBytesSecMaxLength: limit,
    writeBytesSecMaxLength: limit,
    totalIopsSecMaxLength: limit,
    readIopsSecMaxLength: limit,
    writeIopsSecMaxLength: limit,
  })
  .meta({
    id: 'DiskLimits',
    description:
      'Bytes and operations a second; 0 lifts a limit, what is left out stays. `Max` are bursts, `MaxLength` their seconds. A total limit takes the place of the same limits for reads and writes, and they of it.',
  });

export const domainTuningMethods = [
  method({
    name: 'domain.set-memory',
    since,
    summary: 'Sets how much memory a guest may use, or how much its domain has at most.',
    description:
      'The balloon of a running guest is asked, which does it in its own time: `domain.balloon-changed` tells. The maximum can only be changed in the stored definition.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        memoryBytes: z.int().min(1024).describe('In bytes; a rest of a KiB is left out.'),
        maximum: z.boolean().default(false).describe('What the domain has at most, from its next start on.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: changeErrors,
  }),
  method({
    name: 'domain.set-memory-stats-period',
    since,
    summary: 'Sets how often a guest tells its memory statistics.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        seconds: z.int().min(0).max(0x7fff_ffff).describe('0: never.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: changeErrors,
  }),
  method({
    name: 'domain.set-vcpus',
    since,
    summary: 'Sets how many virtual CPUs a guest has.',
    description:
      'A running guest gets more at once. To have fewer it must give some back, and has five seconds to; one that does not is told by `operation.timeout`, and the stored definition stays as it was. With `guest` nothing is plugged: its agent is asked to take CPUs online or offline.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        count: z.int().min(1).max(65_535),
        maximum: z.boolean().default(false).describe('How many it may have, from its next start on.'),
        guest: z.boolean().default(false).describe('Ask the guest agent to use so many of those it has.'),
        hotpluggable: z
          .boolean()
          .default(false)
          .describe('Those that the stored definition gets more can be taken away from a running guest.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, 'operation.timeout', 'operation.failed', 'agent.missing', 'agent.unresponsive'],
  }),
  method({
    name: 'domain.set-vcpu',
    since,
    summary: 'Plugs single virtual CPUs in, or takes them away, whatever is there above them.',
    description:
      'The first one (0) always stays. A running guest has five seconds to give a CPU back; one that does not is told by `operation.timeout`, and the stored definition stays as it was. In a stored definition only CPUs that are hotpluggable can come behind a gap.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        vcpus: cpuSet.describe('Their numbers, as `2` or `1,4-5`.'),
        enabled: z.boolean(),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [...changeErrors, 'operation.timeout', 'operation.failed', 'request.unsupported'],
  }),
  method({
    name: 'domain.pin',
    since,
    summary: 'Says on which processors of the host threads of a guest run.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, target: pinTarget, cpus: cpuSet, ...changeTargets }),
    result: () => z.object({}),
    errors: [...changeErrors, 'system.call'],
  }),
  method({
    name: 'domain.threads',
    since,
    summary: 'Tells on which processors of the host the threads of a running guest may run.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () =>
      z.object({
        threads: z.array(
          z.object({
            target: pinTarget,
            threadId: z.int().nullable().describe('Of the host; null for the emulator, which has many.'),
            cpus: z.string().nullable().describe('As the definition has it; null: any.'),
          }),
        ),
      }),
    errors: ['domain.not-found', 'domain.inactive', 'qmp.timeout', 'qmp.closed'],
  }),
  method({
    name: 'domain.iothread.add',
    since,
    summary: 'Gives a domain an IO thread.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, id: iothreadId, ...changeTargets }),
    result: () => z.object({}),
    errors: changeErrors,
  }),
  method({
    name: 'domain.iothread.remove',
    since,
    summary: 'Takes an IO thread away that no disk uses.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, id: iothreadId, ...changeTargets }),
    result: () => z.object({}),
    errors: changeErrors,
  }),
  method({
    name: 'domain.disk.resize',
    since,
    summary: 'Makes a disk of a running guest larger or smaller.',
    description: 'The guest is told. What is beyond a smaller size is lost.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, disk, sizeBytes: z.int().min(512) }),
    result: () => z.object({}),
    errors: changeErrors,
  }),
  method({
    name: 'domain.disk.set-limits',
    since,
    summary: 'Limits the bytes and operations of a disk.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, disk, limits: diskLimits, ...changeTargets }),
    result: () => z.object({ limits: diskLimits }),
    errors: [...changeErrors, 'request.unsupported'],
  }),
  method({
    name: 'domain.disk.info',
    since,
    summary: 'Tells the size and limits of a disk, and what its image takes up.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef, disk }),
    result: () =>
      z.object({
        capacityBytes: z.int().describe('As the guest sees it.'),
        allocationBytes: z.int().describe('What the image takes up on the host.'),
        physicalBytes: z.int().describe("The length of the image's file."),
        limits: diskLimits,
      }),
    errors: ['domain.not-found', 'domain.no-device', 'request.unsupported', 'qmp.timeout', 'qmp.closed'],
  }),
  method({
    name: 'domain.disk.set-threshold',
    since,
    summary: 'Has `domain.block-threshold` told once, when an image is written beyond a byte.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        disk: disk.describe(
          'The disk, for the image that the guest writes to, or an image of its chain as `vda[2]`.',
        ),
        thresholdBytes: z.int().nonnegative().describe('0 ends it.'),
      }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'domain.no-device', 'qmp.failed', 'qmp.timeout'],
  }),
] as const;
