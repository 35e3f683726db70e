/** Methods that start, stop and touch running domains. */
import * as z from 'zod';
import { domainRef, domainSummary } from './domain-objects.ts';
import { method } from './method.ts';

const target = { domain: domainRef };
const timeoutMs = z.int().min(0).max(86_400_000);

const shutdownMode = z
  .enum(['auto', 'acpi', 'agent'])
  .default('auto')
  .describe(
    'How the guest is asked: the ACPI power button, the guest agent, or the agent where it answers and else ACPI.',
  );

const waitForOff = timeoutMs
  .optional()
  .describe('Wait this long for the guest to be off, in milliseconds; without it return when it was asked.');

export const domainLifecycleMethods = [
  method({
    name: 'domain.start',
    since: '0.1.0',
    summary: 'Boots a defined domain, or goes on from its saved state.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        paused: z.boolean().default(false).describe('Leave the virtual CPUs stopped.'),
        autodestroy: z.boolean().default(false).describe('Destroy it when this connection closes.'),
        forceBoot: z
          .boolean()
          .default(false)
          .describe('Boot afresh even where a saved state exists, and drop that.'),
        resetNvram: z
          .boolean()
          .default(false)
          .describe(
            "Make UEFI's variables anew from their template; boot entries and keys in them are lost.",
          ),
        bypassCache: z.boolean().default(false).describe("Read a saved state past the host's page cache."),
        startNetworks: z
          .boolean()
          .default(true)
          .describe('Start the virtual networks first that it is on and that are not active.'),
      }),
    result: () => domainSummary,
    errors: [
      'domain.not-found',
      'domain.active',
      'domain.busy',
      'domain.start-failed',
      'domain.state',
      'saved-state.invalid',
      'definition.unsupported',
      'kvm.unusable',
      'qemu.missing',
      'qemu.lacks',
      'qemu.probe-failed',
      'qmp.timeout',
      'network.inactive',
      'network.conflict',
      'network.busy',
      'network.session',
      'access.denied',
      'link.failed',
      'program.missing',
      'program.failed',
      'host-device.not-found',
      'host-device.ambiguous',
      'host-device.in-use',
      'host-device.unusable',
      'host-device.failed',
      'file.not-found',
      'file.denied',
      'file.no-space',
      'file.failed',
      'forward.conflict',
      'operation.aborted',
    ],
  }),
  method({
    name: 'domain.shutdown',
    since: '0.1.0',
    summary: 'Asks the guest to shut down.',
    description: 'A guest may ignore it. With `timeoutMs` the answer comes when the domain is off.',
    access: 'modify',
    params: () => z.strictObject({ ...target, mode: shutdownMode, timeoutMs: waitForOff }),
    result: () => domainSummary,
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.busy',
      'agent.missing',
      'agent.unresponsive',
      'operation.timeout',
    ],
  }),
  method({
    name: 'domain.reboot',
    since: '0.1.0',
    summary: 'Asks the guest to reboot.',
    access: 'modify',
    params: () => z.strictObject({ ...target, mode: shutdownMode }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'domain.busy', 'agent.missing', 'agent.unresponsive'],
  }),
  method({
    name: 'domain.reset',
    since: '0.1.0',
    summary: 'Presses the reset button; the guest cannot refuse.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'domain.busy'],
  }),
  method({
    name: 'domain.suspend',
    since: '0.1.0',
    summary: 'Stops the virtual CPUs; memory stays.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => domainSummary,
    errors: ['domain.not-found', 'domain.inactive', 'domain.busy', 'domain.state'],
  }),
  method({
    name: 'domain.resume',
    since: '0.1.0',
    summary: 'Lets the virtual CPUs go on.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => domainSummary,
    errors: ['domain.not-found', 'domain.inactive', 'domain.busy', 'domain.state'],
  }),
  method({
    name: 'domain.destroy',
    since: '0.1.0',
    summary: 'Ends a running domain at once, as pulling its plug.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        graceful: z
          .boolean()
          .default(false)
          .describe('Only ask QEMU to end, which flushes its disks; fail when it does not.'),
      }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'domain.busy'],
  }),
  method({
    name: 'domain.screenshot',
    since: '0.1.0',
    summary: 'Takes a picture of a graphical screen.',
    access: 'secret',
    params: () =>
      z.strictObject({
        ...target,
        screen: z.int().min(0).max(15).default(0).describe('Number of the screen.'),
      }),
    result: () =>
      z.object({
        mime: z.enum(['image/png', 'image/x-portable-pixmap']),
        base64: z.string().describe('The picture.'),
      }),
    errors: ['domain.not-found', 'domain.inactive', 'domain.no-device', 'qmp.failed'],
  }),
  method({
    name: 'domain.send-key',
    since: '0.1.0',
    summary: "Presses keys of the guest's keyboard together.",
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        keys: z
          .array(
            z.union([z.string().min(1).max(32), z.int().min(0).max(65_535)], {
              error: 'must be the name of a key or its number',
            }),
          )
          .min(1)
          .max(16)
          .describe(
            "Keys: names of QEMU's QKeyCode (`ctrl`, `alt`, `delete`), Linux names (`KEY_A`) or, with codeset `linux`, numbers of Linux input codes too (30).",
          ),
        codeset: z.enum(['qcode', 'linux']).default('qcode'),
        holdMs: z
          .int()
          .min(0)
          .max(60_000)
          .default(100)
          .describe('How long they are held down, in milliseconds.'),
      }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'request.invalid', 'qmp.failed'],
  }),
  method({
    name: 'domain.inject-nmi',
    since: '0.1.0',
    summary: 'Sends a non-maskable interrupt to the guest.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.inactive', 'qmp.failed'],
  }),
  method({
    name: 'domain.console',
    since: '0.1.0',
    summary: 'Connects to a serial console or channel.',
    description:
      'After the response line the connection carries the bytes of the console, both ways. It must be the only request in work; subscriptions of the connection end.',
    access: 'modify',
    upgrade: true,
    params: () =>
      z.strictObject({
        ...target,
        console: z
          .string()
          .min(1)
          .max(64)
          .optional()
          .describe('Alias (`serial0`); the first console when not given.'),
        force: z.boolean().default(false).describe('Disconnect whoever uses it now.'),
      }),
    result: () => z.object({ console: z.string().describe('Alias of the console.') }),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.no-device',
      'domain.busy',
      'stream.failed',
      'request.busy',
    ],
  }),
  method({
    name: 'domain.monitor-command',
    since: '0.1.0',
    summary: "Runs one command of QEMU's monitor, for experts.",
    description: 'The daemon does not know what the command changes. Use it to look, or to test.',
    access: 'exec',
    params: () =>
      z.strictObject({
        ...target,
        command: z.string().min(1).max(128).describe('A QMP command (`query-status`).'),
        arguments: z.record(z.string(), z.unknown()).optional().describe('Its arguments.'),
      }),
    result: () => z.object({ return: z.unknown() }),
    errors: ['domain.not-found', 'domain.inactive', 'qmp.failed', 'qmp.timeout', 'qmp.closed'],
  }),
] as const;
