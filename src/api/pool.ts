/** Methods about storage pools. */
import * as z from 'zod';
import { dropped, strict } from './documents.ts';
import { quarantined, xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';
import { newPoolName, poolDetails, poolRef, poolSummary, poolType } from './pool-objects.ts';
import { undoable } from './undo.ts';

const since = '0.1.0';
const target = { pool: poolRef };

const errors = ['pool.not-found', 'pool.quarantined'] as const;
const changeErrors = [...errors, 'pool.busy'] as const;
/** What can be wrong with a definition that somebody brings. */
const definitionErrors = ['xml.malformed', 'xml.invalid', 'pool.exists'] as const;
/** What can go wrong between us and the storage. */
const storageErrors = [
  'definition.unsupported',
  'pool.failed',
  'pool.unresponsive',
  'file.not-found',
  'file.denied',
  'program.missing',
  'program.failed',
  'operation.aborted',
] as const;

const build = {
  build: z.boolean().default(false).describe('Build it first.'),
  overwrite: z.boolean().default(false).describe('Build over whatever is there: it is lost.'),
  noOverwrite: z.boolean().default(false).describe('Build, and refuse when anything is there.'),
};

const poolQueries = [
  method({
    name: 'pool.list',
    since,
    summary: 'Lists the storage pools, by name.',
    description: 'Every filter that is given must hold. Sizes are those of the last refresh.',
    access: 'query',
    params: () =>
      z.strictObject({
        active: z.boolean().optional().describe('Only pools that are active, or only those that are not.'),
        persistent: z.boolean().optional().describe('Only pools with a stored definition, or without.'),
        autostart: z.boolean().optional().describe('Only pools that start with the daemon, or do not.'),
        types: z.array(poolType).min(1).max(14).optional().describe('Only pools of these types.'),
      }),
    result: () => z.object({ pools: z.array(poolSummary), quarantined: z.array(quarantined) }),
    errors: [],
  }),
  method({
    name: 'pool.get',
    since,
    summary: 'Shows one storage pool in detail.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => poolDetails,
    errors,
  }),
  method({
    name: 'pool.xml',
    since,
    summary: "Gives the definition as libvirt's storage pool XML.",
    access: 'query',
    params: () =>
      z.strictObject({
        ...target,
        inactive: z.boolean().default(false).describe('The stored definition, not the active one.'),
      }),
    result: () => z.object({ xml: z.string() }),
    errors,
  }),
  method({
    name: 'pool.capabilities',
    since,
    summary: "Tells which types of pools work here, as libvirt's document.",
    access: 'query',
    params: () => z.strictObject({}),
    result: () => z.object({ xml: z.string() }),
    errors: [],
  }),
  method({
    name: 'pool.find-sources',
    since,
    summary:
      'Looks for what a pool of a type could be made of: volume groups, exported directories, targets.',
    access: 'path',
    params: () =>
      z.strictObject({
        type: poolType,
        xml: xmlDocument.optional().describe('`<source>` that tells where to look: `<host name=…/>`.'),
      }),
    result: () => z.object({ xml: z.string().describe("libvirt's `<sources>` document.") }),
    errors: ['xml.malformed', 'xml.invalid', 'request.unsupported', ...storageErrors],
  }),
] as const;

const poolDefinitionMethods = [
  method({
    name: 'pool.define',
    since,
    summary: "Stores a definition given as libvirt's storage pool XML, or replaces one.",
    description:
      'The answer comes when the definition is safely on disk. An active pool stays as it is; the new definition counts from its next start.',
    access: 'path',
    params: () => z.strictObject({ xml: xmlDocument.describe('The document.'), strict }),
    result: () => z.object({ pool: poolSummary, dropped }),
    errors: [...definitionErrors, 'pool.busy', 'file.no-space'],
  }),
  method({
    name: 'pool.undefine',
    since,
    summary: 'Forgets the stored definition; no volume is touched.',
    description: 'An active pool becomes transient: it stays and is gone when it stops.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () =>
      z.object({
        undo: undoable
          .nullable()
          .describe("Takes it back ('undo.restore'); null where the daemon keeps nothing."),
      }),
    errors: [...changeErrors, 'pool.transient'],
  }),
  method({
    name: 'pool.create',
    since,
    summary: 'Makes a new storage pool from a few words.',
    access: 'path',
    params: () =>
      z.strictObject({
        name: newPoolName,
        type: poolType.default('dir'),
        path: z
          .string()
          .min(1)
          .max(4096)
          .optional()
          .describe('Directory of its volumes, or where they are mounted.'),
        source: z
          .string()
          .min(1)
          .max(4096)
          .optional()
          .describe('Where they come from: `/dev/sdb1`, `nas:/export`, a volume group.'),
        format: z
          .string()
          .min(1)
          .max(32)
          .optional()
          .describe('File system, partition table or network protocol.'),
        autostart: z.boolean().default(false).describe('Start it with the daemon.'),
        build: build.build,
        start: z.boolean().default(false).describe('Start it at once.'),
      }),
    result: () => z.object({ pool: poolSummary }),
    errors: ['request.invalid', ...definitionErrors, 'file.no-space', ...storageErrors],
  }),
  method({
    name: 'pool.create-xml',
    since,
    summary: 'Starts a transient pool from storage pool XML.',
    description: 'Nothing is stored; when it stops it is gone.',
    access: 'path',
    params: () => z.strictObject({ xml: xmlDocument.describe('The document.'), strict, ...build }),
    result: () => z.object({ pool: poolSummary, dropped }),
    errors: [
      ...definitionErrors,
      'pool.busy',
      'pool.active',
      'pool.built',
      'request.flags',
      ...storageErrors,
    ],
  }),
  method({
    name: 'pool.set-autostart',
    since,
    summary: 'Sets whether a pool is started with the daemon.',
    access: 'modify',
    params: () => z.strictObject({ ...target, autostart: z.boolean() }),
    result: () => z.object({}),
    errors: [...changeErrors, 'pool.transient'],
  }),
] as const;

const poolLifecycleMethods = [
  method({
    name: 'pool.build',
    since,
    summary: 'Makes what a pool needs: its directory, file system, volume group or partition table.',
    description: 'Nothing that is there is touched, unless `overwrite` says so.',
    access: 'modify',
    params: () => z.strictObject({ ...target, overwrite: build.overwrite, noOverwrite: build.noOverwrite }),
    result: () => z.object({}),
    errors: [
      ...changeErrors,
      'pool.active',
      'pool.transient',
      'pool.built',
      'request.flags',
      ...storageErrors,
    ],
  }),
  method({
    name: 'pool.start',
    since,
    summary: 'Starts a defined pool and reads its volumes.',
    access: 'modify',
    params: () => z.strictObject({ ...target, ...build }),
    result: () => poolSummary,
    errors: [...changeErrors, 'pool.active', 'pool.built', 'request.flags', ...storageErrors],
  }),
  method({
    name: 'pool.stop',
    since,
    summary: 'Stops an active pool; its volumes stay where they are.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: [...changeErrors, 'pool.inactive', ...storageErrors],
  }),
  method({
    name: 'pool.delete',
    since,
    summary: 'Takes away what a pool was built on; a directory only when it is empty.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({}),
    errors: [...changeErrors, 'pool.active', 'pool.transient', 'file.exists', ...storageErrors],
  }),
  method({
    name: 'pool.refresh',
    since,
    summary: 'Reads the volumes of an active pool anew.',
    description: 'Changes in a directory are noticed without that, on file systems of this host.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({ added: z.int(), removed: z.int(), changed: z.int() }),
    errors: [...changeErrors, 'pool.inactive', ...storageErrors],
  }),
] as const;

export const poolMethods = [...poolQueries, ...poolDefinitionMethods, ...poolLifecycleMethods] as const;
