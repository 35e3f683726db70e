/** Methods that save and restore guests, change saved states, and dump memory. */
import * as z from 'zod';
import { saveFormats } from '../model/saved-state/image.ts';
import { domainRef, domainSummary, xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const target = { domain: domainRef };
const path = z.string().min(1).max(4096).regex(/^\//, 'must be an absolute path');

const saveFormat = z.enum(saveFormats).meta({
  id: 'SaveFormat',
  description:
    "How a saved state is packed: by the program of that name. `sparse` is QEMU's own form (9.0 and later), in which pages of zeros take no room and several threads write.",
});

const runState = z
  .enum(['running', 'paused'])
  .optional()
  .describe('Whether the virtual CPUs run after a restore; without it as they did when it was saved.');

const bypassCache = z
  .boolean()
  .default(false)
  .describe("Move it past the host's page cache (O_DIRECT); not with a packed state.");

const channels = z
  .int()
  .min(1)
  .max(255)
  .optional()
  .describe('How many threads of QEMU move it at once; only for a sparse state. Left out: one.');

const otherXml = xmlDocument
  .optional()
  .describe('A definition in place of its own; it may differ only in what the guest does not see.');

const how = {
  format: saveFormat.optional().describe('Left out: as the daemon is configured.'),
  bypassCache,
  channels,
  state: runState,
};

const saveErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.busy',
  'domain.state',
  'definition.unsupported',
  'file.not-found',
  'file.denied',
  'file.exists',
  'file.no-space',
  'file.failed',
  'program.missing',
  'program.failed',
  'qemu.lacks',
  'request.invalid',
  'operation.aborted',
] as const;

const stateErrors = ['saved-state.invalid', 'file.not-found', 'file.denied', 'file.failed'] as const;

const savedState = z
  .object({
    xml: z.string().describe('The definition in it.'),
    name: z.string(),
    uuid: z.string(),
    state: z.enum(['running', 'paused']).describe('What its guest will be after a restore.'),
    format: saveFormat,
  })
  .meta({ id: 'SavedState', description: 'What a file with the saved state of a guest says.' });

const secure = z.boolean().default(false).describe('With passwords.');
const change = { xml: otherXml, state: runState };

export const domainSaveMethods = [
  method({
    name: 'domain.save',
    since,
    summary: 'Saves a running guest to a file and ends it.',
    description:
      "The guest stands still meanwhile. The file has its name only when it is whole and on the disk; before, and when it is called off (`job.cancel`), the guest goes on. It is libvirt's format.",
    access: 'path',
    params: () => z.strictObject({ ...target, path, ...how, xml: otherXml }),
    result: () => domainSummary,
    errors: [...saveErrors],
  }),
  method({
    name: 'domain.restore',
    since,
    summary: 'Starts a guest from where it was saved to a file.',
    description:
      'A stored domain runs with the definition in the file until it stops; without a stored one it is transient. The file stays: what is on the disks fits it only as long as nothing has written to them.',
    access: 'path',
    params: () => z.strictObject({ path, bypassCache, channels, state: runState, xml: otherXml }),
    result: () => domainSummary,
    errors: [
      ...stateErrors,
      'definition.unsupported',
      'domain.exists',
      'domain.active',
      'domain.busy',
      'domain.start-failed',
      'network.inactive',
      'program.missing',
      'qemu.lacks',
      'request.invalid',
      'operation.aborted',
    ],
  }),
  method({
    name: 'domain.managed-save',
    since,
    summary: 'Saves a running guest where the daemon keeps it: its next start goes on from there.',
    access: 'modify',
    params: () => z.strictObject({ ...target, ...how }),
    result: () => domainSummary,
    errors: [...saveErrors, 'domain.transient'],
  }),
  method({
    name: 'domain.managed-save.remove',
    since,
    summary: 'Gives up the state that the daemon keeps of a domain.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.busy', 'saved-state.not-found'],
  }),
  method({
    name: 'domain.managed-save.get',
    since,
    summary: 'Shows the state that the daemon keeps of a domain.',
    access: 'secret',
    params: () => z.strictObject({ ...target, secure }),
    result: () => savedState,
    errors: ['domain.not-found', 'saved-state.not-found', 'saved-state.invalid'],
  }),
  method({
    name: 'domain.managed-save.edit',
    since,
    summary: 'Changes the definition in the state that the daemon keeps of a domain.',
    access: 'path',
    params: () => z.strictObject({ ...target, ...change }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.busy',
      'saved-state.not-found',
      'saved-state.invalid',
      'definition.unsupported',
      'request.too-large',
    ],
  }),
  method({
    name: 'save-image.get',
    since,
    summary: 'Shows what a file with a saved state says.',
    access: 'path',
    params: () => z.strictObject({ path, secure }),
    result: () => savedState,
    errors: [...stateErrors],
  }),
  method({
    name: 'save-image.edit',
    since,
    summary: 'Changes the definition in a file with a saved state.',
    access: 'path',
    params: () => z.strictObject({ path, ...change }),
    result: () => z.object({}),
    errors: [...stateErrors, 'definition.unsupported', 'request.too-large'],
  }),
  method({
    name: 'domain.dump',
    since,
    summary: "Writes a guest's memory to a file, for a debugger.",
    description:
      "`elf` is a core for gdb and crash; kdump's forms are packed, for crash; `win-dmp` is for WinDbg, of a Windows guest with vmcoreinfo and its driver; `state` is what QEMU writes for a migration.",
    access: 'path',
    params: () =>
      z.strictObject({
        ...target,
        path,
        format: z.enum(['elf', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy', 'win-dmp', 'state']).default('elf'),
        live: z
          .boolean()
          .default(false)
          .describe(
            'Do not stop the guest first. QEMU stops it all the same while it writes all but `state`.',
          ),
        afterwards: z
          .enum(['destroy', 'reset'])
          .optional()
          .describe('What becomes of the guest then; without it, it goes on as it was.'),
        bypassCache,
      }),
    result: () => domainSummary,
    errors: [...saveErrors, 'operation.failed'],
  }),
] as const;
