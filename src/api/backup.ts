/** Methods about backups: jobs of running guests, backups in directories, and plans. */
import * as z from 'zod';
import { domainRef, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

const directory = z.string().startsWith('/').max(4096).describe('Directory of the backups, on the host.');
const path = z.string().startsWith('/').max(4096).describe('Directory of one backup: DIR/DOMAIN/ID.');
const planName = z.string().min(1).max(100).describe('Name of the plan.');

const backup = z
  .object({
    id: z.string().describe('The time it was begun: 20261122T041500Z.'),
    path,
    domain: z.object({ uuid: z.guid(), name: z.string() }),
    takenAt: timestamp,
    kind: z.enum(['full', 'incremental']),
    parent: z.string().nullable().describe('The backup that it lies on.'),
    guest: z
      .enum(['off', 'running', 'frozen'])
      .describe('What the guest did; `frozen`: it ran, and its file systems stood still.'),
    plan: z.string().nullable(),
    bytes: z.int().describe('What it takes by itself.'),
    disks: z.array(
      z.object({ target: z.string(), capacityBytes: z.int(), bytes: z.int(), incremental: z.boolean() }),
    ),
  })
  .meta({ id: 'Backup', description: 'A backup in a directory.' });

const count = z.int().min(1).max(10_000).optional();
const keep = z.strictObject({
  last: count.describe('The newest so many.'),
  daily: count.describe('The newest of each of so many days.'),
  weekly: count.describe('The newest of each of so many weeks.'),
  monthly: count.describe('The newest of each of so many months.'),
});
const schedule = z.strictObject({
  every: z.enum(['hour', 'day', 'week']),
  minute: z
    .int()
    .min(0)
    .max(1439)
    .describe("Minutes after midnight by the host's clock; of an hourly one, after the hour."),
  weekday: z
    .enum(['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'])
    .optional()
    .describe('Of a weekly one.'),
});
const planWish = {
  directory,
  schedule,
  keep: keep.prefault({}).describe('What stays; with nothing given, everything does.'),
  fullEvery: z.int().min(1).max(1000).default(14).describe('So many backups lie on each other at most.'),
  quiesce: z
    .boolean()
    .default(false)
    .describe('Have the guest agent freeze the file systems for the moment.'),
  compressed: z.boolean().default(false).describe('Pack the images.'),
};
const plan = z
  .object({
    name: planName,
    domain: z.object({ uuid: z.guid(), name: z.string() }),
    ...planWish,
    nextRunAt: timestamp,
    lastRun: z
      .object({ at: timestamp, backup: z.string().nullable(), error: z.string().nullable() })
      .nullable()
      .describe('Null before the first. With neither backup nor error: it goes on, or was cut off.'),
  })
  .meta({ id: 'BackupPlan', description: 'When a domain is backed up, where to, and what is kept.' });

const workErrors = [
  'domain.not-found',
  'domain.busy',
  'domain.inactive',
  'domain.active',
  'domain.state',
  'domain.no-device',
  'checkpoint.exists',
  'checkpoint.not-found',
  'checkpoint.inconsistent',
  'definition.unsupported',
  'request.invalid',
  'request.unsupported',
  'agent.missing',
  'agent.unresponsive',
  'operation.failed',
  'operation.aborted',
  'file.not-found',
  'file.exists',
  'file.denied',
  'file.no-space',
  'file.failed',
  'program.missing',
  'program.failed',
  'qmp.failed',
  'qmp.closed',
  'qmp.timeout',
] as const;

export const backupMethods = [
  method({
    name: 'backup.begin',
    since,
    summary: 'Begins a backup job of a running guest from its document.',
    description:
      "libvirt's <domainbackup>: pushed into images, or pulled over NBD until `backup.cancel`. All disks are taken at one moment. The event `job.ended` tells the end.",
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: z.string().min(1).max(1_048_576).describe('domainbackup XML'),
        checkpointXml: z
          .string()
          .min(1)
          .max(1_048_576)
          .optional()
          .describe('domaincheckpoint XML: a checkpoint that is made at the same moment.'),
        reuse: z.boolean().default(false).describe('The images are there already.'),
        quiesce: z
          .boolean()
          .default(false)
          .describe('Have the guest agent freeze the file systems for the moment.'),
      }),
    result: () => z.object({ xml: z.string().describe('The document with all that was filled in.') }),
    errors: ['xml.malformed', 'xml.invalid', ...workErrors],
  }),
  method({
    name: 'backup.xml',
    since,
    summary: 'Shows the backup job in work as its document.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'backup.none'],
  }),
  method({
    name: 'backup.cancel',
    since,
    summary: 'Calls the backup job in work off; one that is pulled is finished so.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ outcome: z.enum(['completed', 'failed', 'cancelled']) }),
    errors: ['domain.not-found', 'backup.none', 'qmp.closed', 'qmp.timeout'],
  }),
  method({
    name: 'backup.create',
    since,
    summary: 'Makes a backup of a domain in a directory.',
    description:
      'An image for each disk, the definition, firmware variables, the state of an emulated TPM, and a manifest with the hash of each file. Of a running guest all disks are taken at one moment; one with firmware variables or a TPM is paused for that moment, some milliseconds, in which these are copied. One that is off is copied. The answer comes when it is whole.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        directory,
        mode: z
          .enum(['auto', 'full', 'incremental'])
          .default('auto')
          .describe('`auto`: only what was written since the last one, where that is known.'),
        disks: z
          .array(z.string().min(1).max(64))
          .min(1)
          .max(1000)
          .optional()
          .describe('Targets; when not given, all that can be written.'),
        quiesce: planWish.quiesce,
        compressed: planWish.compressed,
        bytesPerSecond: z.int().min(0).optional().describe('The most of each disk; 0 is no limit.'),
      }),
    result: () => backup.extend({ whyFull: z.string().nullable().describe('Why `auto` took everything.') }),
    errors: workErrors,
  }),
  method({
    name: 'backup.list',
    since,
    summary: 'Lists the backups in a directory, the oldest first.',
    access: 'modify',
    params: () =>
      z.strictObject({
        directory,
        domain: z.string().max(255).optional().describe('Only those of that name or uuid.'),
      }),
    result: () =>
      z.object({
        backups: z.array(backup),
        broken: z.array(z.object({ path: z.string(), reason: z.string() })).describe('What cannot be read.'),
      }),
    errors: ['request.invalid', 'file.denied', 'file.failed'],
  }),
  method({
    name: 'backup.verify',
    since,
    summary:
      'Reads all files of a backup, and of those that it lies on, and compares them with their manifests.',
    access: 'modify',
    params: () => z.strictObject({ path }),
    result: () =>
      z.object({
        good: z.boolean(),
        findings: z.array(z.object({ path: z.string(), problem: z.string() })),
      }),
    errors: [
      'backup.not-found',
      'backup.damaged',
      'request.invalid',
      'operation.aborted',
      'file.denied',
      'file.failed',
    ],
  }),
  method({
    name: 'backup.restore',
    since,
    summary: 'Makes a domain of a backup.',
    description:
      'With a name, a new one with identities of its own; without, the old one as it was. Disks are written beside their places and put there when all are whole. Firmware variables and TPM state come back in both cases.',
    access: 'modify',
    params: () =>
      z.strictObject({
        path,
        name: z.string().min(1).max(255).optional().describe('Name of a new domain.'),
        directory: z
          .string()
          .startsWith('/')
          .max(4096)
          .optional()
          .describe('Where the disks of a new domain go.'),
        over: z
          .boolean()
          .default(false)
          .describe('The domain that is there is written over; it must be off.'),
        unverified: z
          .boolean()
          .default(false)
          .describe('Do not compare the files with their manifests first.'),
      }),
    result: () => z.object({ domain: z.object({ uuid: z.guid(), name: z.string() }) }),
    errors: ['backup.not-found', 'backup.damaged', 'domain.exists', 'saved-state.exists', ...workErrors],
  }),
  method({
    name: 'backup.delete',
    since,
    summary: 'Deletes a backup.',
    access: 'modify',
    params: () =>
      z.strictObject({
        path,
        dependents: z.boolean().default(false).describe('Those that lie on it go too; else they keep it.'),
      }),
    result: () => z.object({ deleted: z.array(z.string()) }),
    errors: [
      'backup.not-found',
      'backup.damaged',
      'backup.needed',
      'request.invalid',
      'file.denied',
      'file.failed',
    ],
  }),
  method({
    name: 'backup.plan-set',
    since,
    summary: 'Stores a plan of backups, new or in place of the one of its name.',
    description:
      'A run that was missed while no daemon was there is made up for once. After each, what the plan does not keep goes.',
    access: 'modify',
    params: () => z.strictObject({ name: planName, domain: domainRef, ...planWish }),
    result: () => plan,
    errors: ['domain.not-found', 'request.invalid', 'file.no-space', 'file.failed'],
  }),
  method({
    name: 'backup.plan-list',
    since,
    summary: 'Lists the plans of backups.',
    access: 'query',
    params: () => z.strictObject({}),
    result: () => z.object({ plans: z.array(plan) }),
    errors: [],
  }),
  method({
    name: 'backup.plan-run',
    since,
    summary: 'Runs a plan now, and waits for its end.',
    access: 'modify',
    params: () => z.strictObject({ name: planName }),
    result: () => plan,
    errors: ['backup.no-plan', 'file.no-space', 'file.failed'],
  }),
  method({
    name: 'backup.plan-remove',
    since,
    summary: 'Forgets a plan; the backups that it made stay.',
    access: 'modify',
    params: () => z.strictObject({ name: planName }),
    result: () => z.object({}),
    errors: ['backup.no-plan', 'file.failed'],
  }),
] as const;
