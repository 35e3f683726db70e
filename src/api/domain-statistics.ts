/** Methods that measure domains: one sample, or a stream of them. */
import * as z from 'zod';
import { statisticsGroups } from '../model/domain/statistics-groups.ts';
import { domainIdentity, domainRef, domainState, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const count = z.int().nonnegative();
const maybe = count.nullable();

const interfaceCounters = z.object({
  rxBytes: count,
  rxPackets: count,
  rxErrors: count,
  rxDropped: count,
  txBytes: count,
  txPackets: count,
  txErrors: count,
  txDropped: count,
});

const diskCounters = z.object({
  readRequests: count,
  readBytes: count,
  readNs: count,
  writeRequests: count,
  writeBytes: count,
  writeNs: count,
  flushRequests: count,
  flushNs: count,
  allocationBytes: maybe.describe('The highest byte that was written.'),
  capacityBytes: maybe,
  physicalBytes: maybe.describe('What the image takes up.'),
});

const group = z.enum(statisticsGroups);

/** One sample of one domain. */
export const domainSample = z
  .object({
    domain: domainIdentity,
    time: timestamp,
    state: domainState,
    cpu: z
      .object({ totalNs: count, userNs: count, systemNs: count })
      .nullable()
      .describe('Processor time of QEMU since its start.'),
    memory: z
      .object({
        currentBytes: count.describe('What the balloon leaves the guest.'),
        maximumBytes: count,
        residentBytes: maybe.describe('What QEMU takes up on the host.'),
        guest: z
          .record(z.string(), z.number())
          .nullable()
          .describe(
            "The guest's own numbers (`freeBytes`, `availableBytes`, ...): nothing vouches for them.",
          ),
      })
      .nullable(),
    vcpus: z
      .object({
        current: count,
        maximum: count,
        cpus: z.array(z.object({ index: count, timeNs: count, waitNs: maybe, delayNs: maybe })),
      })
      .nullable(),
    interfaces: z
      .array(
        z.object({
          device: z.string().nullable(),
          alias: z.string().nullable(),
          mac: z.string().nullable(),
          counters: interfaceCounters.nullable(),
        }),
      )
      .nullable(),
    disks: z
      .array(
        z.object({
          target: z.string(),
          path: z.string().nullable(),
          counters: diskCounters.nullable(),
        }),
      )
      .nullable(),
    iothreads: z
      .array(z.object({ id: count, pollMaxNs: maybe, pollGrow: maybe, pollShrink: maybe }))
      .nullable(),
    dirtyRate: z
      .object({
        status: z.enum(['unstarted', 'measuring', 'measured']),
        startedAt: timestamp.nullable(),
        periodSeconds: count,
        mode: z.string().describe('How it was measured: `page-sampling`, `dirty-bitmap` or `dirty-ring`.'),
        mibPerSecond: maybe,
        vcpus: z
          .array(z.object({ index: count, mibPerSecond: count }))
          .describe("Each virtual CPU's part; only by `dirty-ring`."),
      })
      .nullable(),
    accelerator: z
      .record(z.string(), z.union([z.number(), z.boolean()]))
      .nullable()
      .describe("KVM's counters of the guest."),
    perf: z
      .record(z.string(), count)
      .nullable()
      .describe('Events that are counted (`domain.set-perf`), since each was switched on.'),
    silence: z
      .string()
      .nullable()
      .describe("Why QEMU's part is missing: it did not answer in time, or ended."),
  })
  .meta({
    id: 'DomainSample',
    description: 'What a domain uses. A group that was not asked for, or that it has not, is null.',
  });

const selection = {
  domains: z
    .array(domainRef)
    .min(1)
    .max(1000)
    .optional()
    .describe('Only these; all that run when not given.'),
  groups: z.array(group).min(1).max(11).optional().describe('Only these groups; all when not given.'),
};

export const domainStatisticsMethods = [
  method({
    name: 'domain.stats',
    since: '0.1.0',
    summary: 'Measures running domains, all at the same time.',
    description:
      'Takes two seconds at most, even when a QEMU hangs: its sample has what the host counts, and `silence`.',
    access: 'query',
    params: () => z.strictObject(selection),
    result: () => z.object({ samples: z.array(domainSample) }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.stats-stream',
    since: '0.1.0',
    summary: 'Measures running domains again and again: a stream of samples, one JSON document a line.',
    description:
      'Each line is `{"samples": [...]}` as `domain.stats` gives them; without `domains`, of those that run at that time. A client that reads slowly gets fewer samples, and each is fresh. The stream ends with the connection, or after `count` lines.',
    access: 'query',
    upgrade: true,
    params: () =>
      z.strictObject({
        ...selection,
        intervalMs: z.int().min(100).max(3_600_000).default(1000),
        count: z.int().min(1).max(1_000_000).optional().describe('End after so many lines.'),
      }),
    result: () => z.object({ intervalMs: z.int() }),
    errors: ['domain.not-found'],
  }),
] as const;
