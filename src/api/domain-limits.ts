/** Methods of a domain's shares and limits on its host: processors, memory, block devices, NUMA nodes. */
import * as z from 'zod';
import { changeTargets, domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

const microseconds = (most: number) => z.int().min(1000).max(most).nullable();
const period = microseconds(1_000_000).describe('The time in which a quota is used up.');
const quota = microseconds(17_592_186_044_415).describe(
  'Processor time in each period; null: as much as there is.',
);
const bytes = z.int().min(1024).nullable();
const perSecond = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const device = z
  .strictObject({
    path: z.string().min(1).max(4096).startsWith('/').describe('A whole disk of the host, like `/dev/sda`.'),
    weight: z.int().min(0).max(10_000).optional(),
    readBytesSec: perSecond.optional(),
    writeBytesSec: perSecond.optional(),
    readIopsSec: perSecond.optional(),
    writeIopsSec: perSecond.optional(),
  })
  .meta({
    id: 'HostDeviceLimit',
    description: 'What a guest may do to one block device of the host; 0 lifts a limit.',
  });

const shape = {
  cpuShares: z
    .int()
    .min(2)
    .max(262_144)
    .nullable()
    .describe(
      'Its share of busy processors, beside others; 1024 (100 with control groups of version 2) is one share.',
    ),
  vcpuPeriodUs: period,
  vcpuQuotaUs: quota.describe('Of each virtual CPU by itself.'),
  emulatorPeriodUs: period,
  emulatorQuotaUs: quota.describe("Of QEMU's other threads together."),
  iothreadPeriodUs: period,
  iothreadQuotaUs: quota.describe('Of each IO thread by itself.'),
  globalPeriodUs: period,
  globalQuotaUs: quota.describe('Of the whole guest.'),
  memoryHardBytes: bytes.describe('More memory than this QEMU cannot have: it is killed.'),
  memorySoftBytes: bytes.describe('Where the kernel begins to take memory back when it runs short.'),
  memorySwapHardBytes: bytes.describe('Memory and swap together.'),
  diskWeight: z
    .int()
    .min(10)
    .max(10_000)
    .nullable()
    .describe("Its share of busy disks (the disks' scheduler must be bfq)."),
  hostDevices: z.array(device).max(256).describe('Limits on block devices of the host.'),
};
const numaMode = z.enum(['strict', 'preferred', 'interleave', 'restrictive']);
const nodes = z.string().regex(/^[0-9,^-]{1,1000}$/, 'must be a set of nodes like 0-1,3');

/** All shares and limits; null is none. */
const limits = z.object({ ...shape, numaMode: numaMode.nullable(), numaNodes: nodes.nullable() }).meta({
  id: 'HostLimits',
  description: 'Shares and limits of a domain on its host; null: none.',
});

const changes = z
  .strictObject({ ...shape, numaMode, numaNodes: nodes })
  .partial()
  .meta({
    id: 'HostLimitChanges',
    description: 'What is left out stays; null lifts a limit. Devices that are not named keep theirs.',
  });

export const domainLimitMethods = [
  method({
    name: 'domain.limits',
    since,
    summary: "Tells a domain's shares and limits on its host.",
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        inactive: z.boolean().default(false).describe('Those of the stored definition of a running domain.'),
      }),
    result: () => limits,
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.set-limits',
    since,
    summary: "Sets a domain's shares and limits on its host.",
    description:
      'By control groups of the host, version 1 or 2. What they do not offer is refused by name for a running guest. NUMA nodes are of the next start.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        limits: changes,
        ...changeTargets,
      }),
    result: () => limits,
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.transient',
      'domain.busy',
      'request.invalid',
      'request.unsupported',
      'file.not-found',
      'system.call',
    ],
  }),
] as const;
