/** Methods about what happened around a domain: the flight record, and the report of a bug. */
import * as z from 'zod';
import { domainIdentity, domainRef, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const flightEntry = z
  .object({
    at: timestamp,
    kind: z
      .enum(['call', 'qmp', 'event', 'host', 'network'])
      .describe(
        "A client's call, QEMU's monitor, an event of the daemon, the state of the host, a network card.",
      ),
    text: z.string().describe('The method, command or event.'),
    facts: z.record(z.string(), z.unknown()).describe('What it came with; `ms` is how long it took.'),
    times: z.int().describe('How often in a row.'),
  })
  .meta({ id: 'FlightEntry', description: 'One thing that happened around a domain.' });

const reportCheck = z.object({
  id: z.string(),
  title: z.string(),
  status: z.string(),
  detail: z.string(),
  repair: z.string().nullable(),
});

export const domainReportMethods = [
  method({
    name: 'domain.record',
    since: '0.1.0',
    summary:
      'Tells what happened around a domain lately: calls, monitor commands and events, with their times.',
    description:
      'The newest 400 to 800 entries are kept on disk and survive the daemon and the host; what happened in the last second before a daemon was killed may be missing. Values that may be secret are never recorded.',
    access: 'query',
    params: () =>
      z.strictObject({
        domain: domainRef,
        limit: z.int().min(1).max(5000).default(200).describe('At most so many, the newest.'),
      }),
    result: () => z.object({ entries: z.array(flightEntry) }),
    errors: ['domain.not-found', 'file.failed'],
  }),
  method({
    name: 'domain.report',
    since: '0.1.0',
    summary: 'Gathers what explains a problem of a domain, without secrets, to be sent with a bug report.',
    description:
      "Definitions, QEMU's command line, the flight record, the end of QEMU's log, networks, the check of the host, versions. Left out: passwords, cookies, SMBIOS and fw_cfg entries, values on the guest's kernel command line, title and description, metadata of other programs; and the same texts wherever else they stand. What could not be had is named in `missing`. Takes a second or two.",
    access: 'secret',
    params: () => z.strictObject({ domain: domainRef }),
    result: () =>
      z.object({
        takenAt: timestamp,
        domain: domainIdentity,
        state: z.string(),
        reason: z.string(),
        versions: z.object({
          vireo: z.string(),
          node: z.string(),
          kernel: z.string(),
          emulator: z.string().describe("Path of the domain's QEMU."),
        }),
        stored: z.string().nullable().describe('The stored definition; null for a transient domain.'),
        running: z.string().nullable().describe('As it runs; null for one that is off.'),
        argv: z.array(z.string()),
        record: z.array(flightEntry),
        log: z.string().describe("The end of QEMU's log."),
        networks: z.array(z.object({ name: z.string(), active: z.boolean(), xml: z.string() })),
        checks: z.array(reportCheck),
        missing: z.array(z.string()).describe('What could not be had, and why.'),
      }),
    errors: ['domain.not-found', 'operation.aborted'],
  }),
] as const;
