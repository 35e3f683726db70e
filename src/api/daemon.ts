/** Methods about the daemon itself, and the description of this API. */
import * as z from 'zod';
import { timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const logLevel = z
  .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
  .meta({ id: 'LogLevel' });

const none = z.strictObject({});

export const daemonMethods = [
  method({
    name: 'rpc.discover',
    since: '0.1.0',
    summary: 'Gives this description as an OpenRPC document.',
    access: 'query',
    params: () => none,
    result: () => z.record(z.string(), z.unknown()),
    errors: [],
  }),
  method({
    name: 'daemon.ping',
    since: '0.1.0',
    summary: 'Answers, to show that the daemon does.',
    access: 'query',
    params: () => none,
    result: () => z.object({}),
    errors: [],
  }),
  method({
    name: 'daemon.info',
    since: '0.1.0',
    summary: 'Tells version, mode, paths and counts of the daemon.',
    access: 'query',
    params: () => none,
    result: () =>
      z.object({
        version: z.string(),
        mode: z.enum(['system', 'session']),
        pid: z.int(),
        startedAt: timestamp,
        uptimeMs: z.int(),
        hostName: z.string(),
        logLevel,
        sockets: z.array(z.object({ frontend: z.string(), path: z.string() })),
        paths: z.record(z.string(), z.string()).describe('Directories by purpose.'),
        counts: z.object({
          clients: z.int(),
          subscriptions: z.int(),
          domains: z.int(),
          activeDomains: z.int(),
          quarantined: z.int(),
        }),
        memoryBytes: z.int().describe('Resident memory of the daemon, in bytes.'),
      }),
    errors: [],
  }),
  method({
    name: 'daemon.set-log-level',
    since: '0.1.0',
    summary: 'Changes what the daemon logs, until it stops.',
    access: 'modify',
    params: () => z.strictObject({ level: logLevel }),
    result: () => z.object({ previous: logLevel }),
    errors: [],
  }),
  method({
    name: 'daemon.adopt-libvirt',
    since: '0.1.0',
    summary: 'Takes over what a libvirtd of this host knew.',
    description:
      "Copies domains and networks with their autostart marks, firmware variables and TPM states, with their snapshots and checkpoints. Nothing is changed at libvirt's, no running guest is touched, and what is here already stays as it is, so it can be done again. One object that cannot come over does not stop the others.",
    access: 'path',
    params: () =>
      z.strictObject({
        from: z
          .string()
          .regex(/^\//, 'is no absolute path')
          .max(4096)
          .optional()
          .describe(
            "The directory below which libvirt's etc/libvirt and var/lib/libvirt are (default: that of the daemon, usually /); in a session the directory in which libvirt/ is (default: ~/.config).",
          ),
        dryRun: z.boolean().default(false).describe('Only tell what would become of each object.'),
      }),
    result: () =>
      z.object({
        from: z.string().describe('The directory whose definitions were read.'),
        dryRun: z.boolean(),
        objects: z.array(
          z.object({
            kind: z.enum([
              'domain',
              'network',
              'pool',
              'secret',
              'nwfilter',
              'snapshot',
              'checkpoint',
              'managed-save',
            ]),
            name: z.string().describe('Of snapshots and checkpoints with the domain: web/clean.'),
            uuid: z.string().nullable(),
            outcome: z
              .enum(['adopted', 'present', 'kept', 'refused'])
              .describe(
                'adopted: came over (or would). present: was here already. kept: put aside for a later version. refused: did not come over.',
              ),
            detail: z.string().nullable().describe('Why not, or what to know.'),
          }),
        ),
      }),
    errors: ['file.denied', 'file.failed'],
  }),
] as const;
