/** Methods that have something measured of a guest that is not measured all the time: counters, and how fast it writes. */
import * as z from 'zod';
import { perfEvents } from '../model/domain/perf-events.ts';
import { dirtyRateModes } from '../model/domain/statistics-groups.ts';
import { changeTargets, domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const perfEvent = z
  .enum(perfEvents)
  .meta({ id: 'PerfEvent', description: 'What the processor or the kernel counts, by the names of <perf>.' });

export const domainMeasuringMethods = [
  method({
    name: 'domain.perf',
    since,
    summary: 'Tells which events are counted of a domain, and how often they happened.',
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        inactive: z.boolean().default(false).describe('As the stored definition has it.'),
      }),
    result: () =>
      z.object({
        events: z.array(
          z.object({
            name: perfEvent,
            enabled: z.boolean(),
            count: z
              .number()
              .nullable()
              .describe(
                'Since it was switched on, or since the daemon started; `cpu_clock` and `task_clock` in ns.',
              ),
            problem: z.string().nullable().describe('Why this host does not count it; null: it does.'),
          }),
        ),
      }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.set-perf',
    since,
    summary: 'Says which events of processor and kernel are counted of a domain.',
    description:
      "The counts are in `domain.perf`, and in the group `perf` of `domain.stats`. All threads of QEMU are counted, the guest's own work with them. What this host does not count is refused for a running guest, and at a start.",
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        events: z
          .partialRecord(perfEvent, z.boolean())
          .describe('True: count it; false: no more; the others stay as they are.'),
        ...changeTargets,
      }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.transient',
      'domain.busy',
      'request.invalid',
      'request.unsupported',
      'system.call',
    ],
  }),
  method({
    name: 'domain.dirty-rate.start',
    since,
    summary: 'Measures how fast a guest writes to its memory, which tells how a migration would go.',
    description:
      'The result is in the group `dirtyrate` of `domain.stats`, when its `status` is `measured`. One measurement at a time.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        seconds: z.int().min(1).max(60).default(1).describe('How long.'),
        mode: z
          .enum(dirtyRateModes)
          .default('page-sampling')
          .describe(
            "Some pages are looked at, or all are followed by a bitmap, or by KVM's ring (`<features><kvm><dirty-ring>`), which tells the part of each virtual CPU.",
          ),
      }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'request.unsupported',
      'qmp.failed',
      'qmp.timeout',
      'qmp.closed',
    ],
  }),
] as const;
