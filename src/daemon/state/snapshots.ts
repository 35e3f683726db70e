/** Snapshots of domains on disk: their documents, which is the current one, what was begun, and what is kept beside them. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../base/log.ts';
import { formatSnapshot, parseSnapshot, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { DomainDocuments } from './domain-documents.ts';

/** A disk's new image that is on its way on top of the old one. */
const pendingDisk = z.object({
  target: z.string(),
  /** The new image. */
  file: z.string(),
  format: z.string(),
  /** The image it lies on, and that one's format. */
  below: z.string(),
  belowFormat: z.string(),
  /** False for a file that was there before: it is nobody's to remove. */
  isOurs: z.boolean(),
});
export type PendingDisk = z.output<typeof pendingDisk>;

/** What was begun and is not at its end: a daemon that finds it brings it to an end, or takes it back. */
const pendingWork = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('create'),
    name: z.string(),
    /** Disks that get a tag inside their images. */
    internal: z.array(z.string()),
    external: z.array(pendingDisk),
    memoryFile: z.string().optional(),
    /** Its name until it is whole. */
    memoryTemporary: z.string().optional(),
    /** A running guest stands still for a moment, and goes on whatever happens. */
    standsStill: z.boolean().optional(),
    /** The document that will be stored; without it none is. */
    xml: z.string().optional(),
  }),
  z.object({
    kind: z.literal('revert'),
    name: z.string(),
    /** Whether the guest stands still afterwards. */
    paused: z.boolean().optional(),
    /** The firmware's variables are to be made anew. */
    resetNvram: z.boolean().optional(),
    /** New images on top of those of the snapshot. */
    external: z.array(pendingDisk),
    /** Images that nobody needs afterwards. */
    discard: z.array(z.string()),
  }),
  z.object({
    kind: z.literal('delete'),
    name: z.string(),
    /** Images that nobody needs afterwards. */
    discard: z.array(z.string()).default([]),
  }),
]);
export type PendingWork = z.output<typeof pendingWork>;

const stateSchema = z.looseObject({
  format: z.literal(1),
  current: z.string().optional(),
  pending: pendingWork.optional(),
  /** Images that were made for snapshots here: only these may be removed with one. */
  images: z.array(z.string()).default([]),
});

/** What is known besides the documents. */
export interface SnapshotState {
  readonly current?: string | undefined;
  readonly pending?: PendingWork | undefined;
  readonly images: readonly string[];
}

export interface StoredSnapshots {
  readonly snapshots: readonly Snapshot[];
  readonly state: SnapshotState;
}

export class SnapshotStore {
  private readonly files: DomainDocuments<Snapshot, SnapshotState>;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.files = new DomainDocuments<Snapshot, SnapshotState>({
      ...options,
      noun: 'snapshot',
      read: readStored,
      readState: (value) => stateSchema.parse(value),
      noState: { images: [] },
    });
  }

  /** UUIDs of the domains that have any. */
  domains(): string[] {
    return this.files.domains();
  }

  /** Reads all of a domain's; a document that can't be read is put aside and named in the log. */
  load(uuid: string): StoredSnapshots {
    const { documents, state } = this.files.load(uuid);
    return { snapshots: documents, state };
  }

  /** Stores a document for good. @throws VirtError file.* */
  async save(uuid: string, snapshot: Snapshot): Promise<void> {
    await this.files.save(uuid, snapshot.name, storedText(uuid, snapshot));
  }

  /** @throws VirtError file.* */
  async saveState(uuid: string, { current, pending, images }: SnapshotState): Promise<void> {
    await this.files.saveState(uuid, {
      format: 1,
      ...(current !== undefined && { current }),
      ...(pending && { pending }),
      ...(images.length > 0 && { images: [...images] }),
    } satisfies z.input<typeof stateSchema>);
  }

  /** Forgets one, with what was kept beside it. @throws VirtError file.* */
  async remove(uuid: string, name: string): Promise<void> {
    await this.files.remove(uuid, name);
    for (const path of Object.values(this.besides(uuid, name)))
      await rm(path, { recursive: true, force: true });
  }

  /** Forgets all of a domain's. @throws VirtError file.* */
  async removeAll(uuid: string): Promise<void> {
    await this.files.removeAll(uuid);
  }

  /** Where copies of firmware variables and of the TPM's state are kept beside a snapshot. */
  besides(uuid: string, name: string): { readonly nvram: string; readonly tpm: string } {
    const base = join(this.files.of(uuid), name);
    return { nvram: `${base}.nvram`, tpm: `${base}.tpm` };
  }

  async makeDirectory(uuid: string): Promise<void> {
    await this.files.makeDirectory(uuid);
  }
}

/** The text of the file: complete, with secrets (the file is 0600). */
export function storedText(uuid: string, snapshot: Snapshot): string {
  return formatSnapshot(snapshot, { secure: true, uuid });
}

/** @throws Error, VirtError xml.* */
export function readStored(text: string, name: string): Snapshot {
  const { definition } = parseSnapshot(text, { mode: 'lenient' });
  const { state, creationTime = 0 } = definition;
  if (definition.name !== name) throw new Error('it has another name than its file');
  if (state === undefined) throw new Error('it has no state');
  return { ...definition, name, state, creationTime };
}
