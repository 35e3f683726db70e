/** What the parts of backups in directories share, and what is remembered of one that is being made. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, isVirtError, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, readText, removeDurable, writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import type { DomainBackups } from '../services/domain-backups.ts';
import type { DomainCheckpoints } from '../services/domain-checkpoints.ts';
import type { DomainDefinitions } from '../services/domain-definitions.ts';
import type { DomainLifecycle } from '../services/domain-lifecycle.ts';
import type { DomainSnapshots } from '../services/domain-snapshots.ts';
import type { FirmwareCopies } from '../services/snapshot-firmware.ts';
import type { DomainWorld } from '../services/world.ts';

const pendingSchema = z.looseObject({
  /** The directory that it will be. */
  path: z.string(),
  uuid: z.guid(),
  name: z.string(),
  takenAtMs: z.number(),
  disks: z.array(z.string()),
  /** Disks of which only what was written since the parent is taken. */
  incremental: z.array(z.string()).optional(),
  parent: z.string().optional(),
  checkpoint: z.string().optional(),
  isFrozen: z.boolean(),
  plan: z.string().optional(),
});

/** A backup that is being made: with it a new daemon ends what an earlier one began. */
export type PendingArchive = z.output<typeof pendingSchema>;

const MAX_BYTES = 1024 * 1024;

export class PendingArchives {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** UUIDs of the domains that have one. @throws VirtError file.* */
  async uuids(): Promise<string[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'look for backups in work', this.directory);
    });
    return names.flatMap((name) => (name.endsWith('.json') ? [name.slice(0, -'.json'.length)] : []));
  }

  async save(pending: PendingArchive): Promise<void> {
    await ensureDirectory(this.directory, 0o700);
    await writeDurable(this.of(pending.uuid), `${JSON.stringify(pending)}\n`);
  }

  /** Undefined when there is none; one that cannot be read is told in the log, and none. */
  async load(uuid: string): Promise<PendingArchive | undefined> {
    try {
      return pendingSchema.parse(JSON.parse(await readText(this.of(uuid), MAX_BYTES)));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && !isVirtError(error, 'file.not-found'))
        this.log.error({ file: this.of(uuid), reason: reasonOf(error) }, 'a backup in work cannot be read');
      return undefined;
    }
  }

  async remove(uuid: string): Promise<void> {
    await removeDurable(this.of(uuid));
  }

  private of(uuid: string): string {
    return join(this.directory, `${uuid}.json`);
  }
}

export interface ArchiveWorld {
  readonly domains: DomainWorld;
  readonly definitions: DomainDefinitions;
  readonly checkpoints: DomainCheckpoints;
  readonly backups: DomainBackups;
  readonly snapshots: Pick<DomainSnapshots, 'treeOf'>;
  readonly lifecycle: Pick<DomainLifecycle, 'goOn'>;
  /** Who copies firmware variables and TPM states. */
  readonly firmware: FirmwareCopies;
  readonly jobs: DomainWorld['jobs'];
  readonly log: Logger;
  readonly pending: PendingArchives;
  /** Where disks of restored domains go when nobody says it. */
  readonly images: string;
}
