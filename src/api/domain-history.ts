/** The method that tells what guests used before. */
import * as z from 'zod';
import { domainRef, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const value = z.number().nullable();

const historyPoint = z
  .object({
    at: timestamp.describe('Start of the step.'),
    cpuPercent: value.describe('Of one processor.'),
    residentBytes: value.describe('Memory that QEMU has on the host.'),
    balloonBytes: value.describe('Memory that the guest may use.'),
    diskReadBytesPerSecond: value,
    diskWriteBytesPerSecond: value,
    diskRequestsPerSecond: value,
    receivedBytesPerSecond: value.describe('By the guest, over all its cards that somebody counts.'),
    sentBytesPerSecond: value,
  })
  .meta({ id: 'HistoryPoint', description: 'Means over one step; null where nobody told.' });

export const domainHistoryMethods = [
  method({
    name: 'domain.stats-history',
    since: '0.1.0',
    summary: 'Tells what a domain used before, for graphs.',
    description:
      'The last hour in steps of ten seconds, the last day in five minutes, or the last thirty days in hours; steps in which it did not run, or no daemon did, are left out. Kept on disk in a file of fixed size; a daemon that is killed loses five minutes at most.',
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        span: z.enum(['hour', 'day', 'month']).default('hour').describe('How far back.'),
      }),
    result: () =>
      z.object({
        stepSeconds: z.int(),
        from: timestamp.describe('Start of the first step of the span.'),
        points: z.array(historyPoint),
        enabled: z.boolean().describe('False where the daemon does not measure (`statistics.history`).'),
      }),
    errors: ['domain.not-found', 'file.failed'],
  }),
] as const;
