/** Methods that have the guest agent do something. What it answers comes from inside the guest: nothing vouches for it. */
import * as z from 'zod';
import { domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const agentErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.state',
  'agent.missing',
  'agent.unresponsive',
  'operation.failed',
] as const;

const kind = z.enum(['os', 'users', 'timezone', 'hostname', 'filesystems', 'disks', 'interfaces']);
const word = z.string().nullable();
const user = z.string().min(1).max(256).describe('Name of a user inside the guest.');
const path = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'must be without NUL')
  .describe('A path inside the guest.');
const base64 = z.base64().max(12 * 1024 * 1024);

const place = z
  .object({
    bus: z.string(),
    serial: word,
    device: word,
    target: word.describe('The disk of the definition.'),
  })
  .meta({ id: 'GuestDiskPlace' });

export const domainAgentMethods = [
  method({
    name: 'domain.guest.info',
    since,
    summary: 'Asks the guest for its system, users, time zone, name, file systems, disks and network cards.',
    description:
      'Needs a read-write connection, as all that reaches into a guest. Without `kinds`, parts that its agent cannot tell are named in `missing`; a part that was asked for and cannot be had is an error.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        kinds: z.array(kind).min(1).max(7).optional().describe('Only these; all when not given.'),
      }),
    result: () =>
      z.object({
        os: z
          .object({
            id: word,
            name: word,
            prettyName: word,
            version: word,
            versionId: word,
            machine: word,
            variant: word,
            kernelRelease: word,
            kernelVersion: word,
          })
          .nullable(),
        users: z
          .array(
            z.object({ name: z.string(), domain: word, loginSeconds: z.number().describe('Since 1970.') }),
          )
          .nullable(),
        timezone: z.object({ name: word, offsetSeconds: z.int() }).nullable(),
        hostname: word,
        filesystems: z
          .array(
            z.object({
              name: z.string(),
              mountpoint: z.string(),
              type: z.string(),
              usedBytes: z.int().nullable(),
              totalBytes: z.int().nullable(),
              disks: z.array(place),
            }),
          )
          .nullable(),
        disks: z
          .array(z.object({ name: z.string(), partition: z.boolean(), place: place.nullable() }))
          .nullable(),
        interfaces: z
          .array(
            z.object({
              name: z.string(),
              mac: word,
              addresses: z.array(z.object({ address: z.string(), prefix: z.int() })),
            }),
          )
          .nullable(),
        missing: z.array(z.object({ what: kind, reason: z.string() })),
      }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.ping',
    since,
    summary: 'Sees whether the guest agent answers.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ roundTripMs: z.number() }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.command',
    since,
    summary: 'Sends the guest agent a command as it is.',
    description: "For experts: QEMU's guest agent reference has the commands. Every use is logged.",
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        command: z
          .string()
          .min(1)
          .max(100)
          .regex(/^[a-z0-9-]+$/),
        arguments: z.record(z.string(), z.unknown()).optional(),
        timeoutMs: z.int().min(1).max(600_000).default(5000).describe('For the answer.'),
      }),
    result: () => z.object({ return: z.unknown() }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.exec',
    since,
    summary: 'Runs a program inside the guest, and gives what it printed.',
    description:
      'No shell is in between. When the time is up, or the client goes, the program goes on: the agent cannot end one. The agent keeps 16 MiB of each output.',
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        path: path.describe("The program: a path, or a name that the agent's PATH finds."),
        args: z.array(z.string().max(131_072)).max(1000).default([]),
        environment: z.array(z.string().max(131_072)).max(1000).optional().describe('`NAME=VALUE`.'),
        inputBase64: base64.optional().describe('For its standard input.'),
        timeoutMs: z.int().min(1).max(3_600_000).default(60_000),
      }),
    result: () =>
      z.object({
        pid: z.int(),
        exitCode: z.int().nullable(),
        signal: z.int().nullable(),
        stdoutBase64: z.string(),
        stderrBase64: z.string(),
        truncated: z.boolean(),
      }),
    errors: [...agentErrors, 'operation.timeout', 'operation.aborted'],
  }),
  method({
    name: 'domain.guest.read-file',
    since,
    summary: 'Reads a file of the guest.',
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        path,
        maxBytes: z
          .int()
          .min(1)
          .max(8 * 1024 * 1024)
          .default(1024 * 1024),
      }),
    result: () => z.object({ base64: z.string() }),
    errors: [...agentErrors, 'request.too-large'],
  }),
  method({
    name: 'domain.guest.write-file',
    since,
    summary: 'Writes a file of the guest.',
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        path,
        base64,
        append: z.boolean().default(false).describe('Behind what is there, instead of in its place.'),
      }),
    result: () => z.object({ bytes: z.int() }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.freeze',
    since,
    summary: 'Stops writes to the file systems of a guest, until `domain.guest.thaw`.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        mountpoints: z.array(path).min(1).max(256).optional().describe('Only these.'),
      }),
    result: () => z.object({ filesystems: z.int().describe('How many stand still.') }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.thaw',
    since,
    summary: 'Lets writes to the file systems of a guest go on.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ filesystems: z.int().describe('How many stood still.') }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.trim',
    since,
    summary: 'Has the guest give unused blocks of its file systems back.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        minimumBytes: z.int().nonnegative().default(0).describe('Shorter free stretches than this may stay.'),
      }),
    result: () => z.object({}),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.get-time',
    since,
    summary: "Tells the time by the guest's clock.",
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ time: z.string().describe('UTC, ISO 8601 with milliseconds.') }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.set-time',
    since,
    summary: "Sets the guest's clock.",
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        time: z.iso.datetime().optional().describe('UTC; when not given, what its hardware clock says.'),
      }),
    result: () => z.object({}),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.set-password',
    since,
    summary: 'Sets the password of a user of the guest.',
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        user,
        password: z.string().min(1).max(1024),
        crypted: z.boolean().default(false).describe('It is what the guest stores, made by crypt(3).'),
      }),
    result: () => z.object({}),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.ssh-keys',
    since,
    summary: 'Lists the keys that let somebody in as a user of the guest.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, user }),
    result: () => z.object({ keys: z.array(z.string()) }),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.set-ssh-keys',
    since,
    summary: 'Sets, adds or removes the keys that let somebody in as a user of the guest.',
    access: 'exec',
    params: () =>
      z.strictObject({
        domain: domainRef,
        user,
        keys: z.array(z.string().min(1).max(16_384)).max(1000),
        how: z.enum(['set', 'append', 'remove']).default('append'),
      }),
    result: () => z.object({}),
    errors: agentErrors,
  }),
  method({
    name: 'domain.guest.suspend',
    since,
    summary: 'Has the guest go to sleep, in memory or on its disk.',
    access: 'modify',
    params: () =>
      z.strictObject({ domain: domainRef, mode: z.enum(['ram', 'disk', 'hybrid']).default('ram') }),
    result: () => z.object({}),
    errors: agentErrors,
  }),
  method({
    name: 'domain.wake-up',
    since,
    summary: 'Wakes a guest that sleeps.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'domain.state', 'qmp.failed', 'qmp.timeout'],
  }),
] as const;
