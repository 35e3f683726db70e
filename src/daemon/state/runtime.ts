/** Runtime status: what a new daemon must know of guests that run. On /run, so a reboot of the host clears it. */
import * as z from 'zod';
import type { Logger } from '../../base/log.ts';
import { backupOutcomes } from '../../drivers/driver/backups.ts';
import { blockJobKinds } from '../../drivers/driver/block-jobs.ts';
import { StatusFiles } from './status-files.ts';

const port = z.int().min(1).max(65_535);

/** drivers/driver/backups.ts, BackupRecord. */
const backupSchema = z.looseObject({
  mode: z.enum(['push', 'pull']),
  disks: z.array(
    z.looseObject({
      disk: z.string(),
      file: z.string(),
      format: z.enum(['qcow2', 'raw']),
      outcome: z.enum(backupOutcomes).optional(),
      doneBytes: z.number().optional(),
      totalBytes: z.number().optional(),
    }),
  ),
  startedAtMs: z.number(),
  xml: z.string(),
  checkpoint: z.string().optional(),
  made: z.array(z.string()),
  socket: z.string().optional(),
  tlsDirectory: z.string().optional(),
  hasBegun: z.boolean().optional(),
  isCancelling: z.boolean().optional(),
  error: z.string().optional(),
  note: z.string().optional(),
});

/** drivers/driver.ts, GuestRecord. What came later has a default, so that a newer daemon takes over older guests. */
const recordSchema = z.looseObject({
  pid: z.int().positive(),
  startTimeTicks: z.string().regex(/^\d+$/),
  qemuPath: z.string(),
  directory: z.string(),
  qmpSocket: z.string(),
  ptys: z.record(z.string(), z.string()),
  sockets: z.record(z.string(), z.string()),
  uid: z.int().nonnegative().optional(),
  startedAtMs: z.number(),
  logPath: z.string(),
  logs: z.array(z.string()).default([]),
  graphicsPorts: z
    .array(z.object({ port: port.optional(), tlsPort: port.optional(), websocket: port.optional() }))
    .default([]),
  helpers: z
    .array(
      z.object({
        kind: z.string(),
        alias: z.string().optional(),
        pid: z.int().positive(),
        startTimeTicks: z.string(),
      }),
    )
    .default([]),
  links: z.record(z.string(), z.string()).default({}),
  keptLinks: z.array(z.string()).optional(),
  foreignSockets: z.array(z.string()).default([]),
  plugging: z.string().optional(),
  saving: z
    .object({
      temporary: z.string(),
      path: z.string(),
      wasRunning: z.boolean(),
      inode: z.number().optional(),
      goesOn: z.boolean().optional(),
    })
    .optional(),
  loaded: z.object({ runs: z.boolean(), isKept: z.boolean() }).optional(),
  still: z.object({ isFrozen: z.boolean().optional(), isPaused: z.boolean().optional() }).optional(),
  vsockCid: z.int().optional(),
  rtcAdjustmentSeconds: z.int().optional(),
  /** drivers/driver/block-jobs.ts, BlockJobRecord. */
  blockJobs: z
    .array(
      z.looseObject({
        id: z.string(),
        kind: z.enum(blockJobKinds),
        disk: z.string(),
        top: z.int().optional(),
        base: z.int().nullable().optional(),
        isDeleting: z.boolean().optional(),
        grants: z.array(z.object({ set: z.int(), fd: z.int() })).optional(),
        isReady: z.boolean().optional(),
        isFinishing: z.boolean().optional(),
        ending: z.enum(['pivot', 'cancel']).optional(),
      }),
    )
    .optional(),
  backup: backupSchema.optional(),
});

const statusSchema = z.looseObject({
  format: z.literal(1),
  uuid: z.guid(),
  name: z.string().min(1),
  id: z.number().int().positive(),
  /** `starting`: QEMU may or may not have been launched; the guest was never acknowledged. */
  phase: z.enum(['starting', 'running']),
  persistent: z.boolean(),
  autodestroy: z.boolean(),
  /** The definition as it runs, in the active, secure form. */
  xml: z.string(),
  record: recordSchema.optional(),
  /** Last known state and reason, for the reasons that QEMU itself doesn't remember. */
  state: z.string(),
  reason: z.string(),
});

/** The status file of one guest. Fields of a newer version are kept. */
export type RuntimeStatus = z.output<typeof statusSchema>;

/** A status to be written: a record of the driver is any object here, the schema checks it when it is read. */
export type NewRuntimeStatus = Omit<RuntimeStatus, 'record'> & {
  readonly uuid: string;
  readonly record?: object | undefined;
};

/** The status files of guests. */
export class RuntimeStore extends StatusFiles<RuntimeStatus, NewRuntimeStatus> {
  constructor(options: { directory: string; log: Logger }) {
    super({ ...options, schema: statusSchema });
  }
}
