/** Methods that take deletions back. */
import * as z from 'zod';
import { timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const undoType = z.enum(['domain', 'network', 'pool', 'volume']);

/** A deletion that can be taken back. */
export const undoable = z
  .object({
    id: z.string(),
    type: undoType,
    name: z.string(),
    uuid: z.string().nullable().describe('Null for volumes.'),
    pool: z.string().nullable().describe('Of a volume.'),
    deletedAt: timestamp,
    until: timestamp.describe('When it is gone for good.'),
  })
  .meta({ id: 'Undoable', description: 'A deletion that can be taken back.' });

const entryRef = z
  .string()
  .min(1)
  .max(255)
  .optional()
  .describe('Its id, uuid or name; of several, the last deletion.');

export const undoMethods = [
  method({
    name: 'undo.list',
    since: '0.1.0',
    summary: 'Lists deletions that can be taken back, the last first.',
    description:
      'Definitions of domains with their firmware variables, TPM state, snapshots and saved state, definitions of networks and pools, and volumes in the trash of active pools; deleted by this API, not by a client of libvirt.',
    access: 'query',
    params: () => z.strictObject({ type: undoType.optional().describe('Only of this kind.') }),
    result: () => z.object({ deletions: z.array(undoable) }),
    errors: ['file.failed'],
  }),
  method({
    name: 'undo.restore',
    since: '0.1.0',
    summary: 'Takes a deletion back: the last one, or one that is named.',
    description:
      'A domain comes back with its name, uuid and autostart, shut off unless it still runs; files that are there already stay as they are.',
    access: 'modify',
    params: () =>
      z.strictObject({
        entry: entryRef,
        type: undoType.optional().describe('Only of this kind.'),
      }),
    result: () => z.object({ restored: undoable }),
    errors: [
      'operation.failed',
      'domain.exists',
      'network.exists',
      'pool.exists',
      'volume.exists',
      'definition.unsupported',
      'file.failed',
      'file.no-space',
    ],
  }),
  method({
    name: 'undo.forget',
    since: '0.1.0',
    summary: 'Makes deletions of definitions final: one, or all.',
    description: "Volumes are taken away by 'volume.trash-empty'.",
    access: 'modify',
    params: () => z.strictObject({ entry: entryRef }),
    result: () => z.object({ forgotten: z.array(undoable) }),
    errors: ['operation.failed', 'file.failed'],
  }),
] as const;
