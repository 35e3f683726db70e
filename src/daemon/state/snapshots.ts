/** Snapshots of domains on disk: a directory for each domain, a document for each snapshot, and which is the current one. */
import { readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, reasonOf } from '../../base/errors.ts';
import {
  ensureDirectory,
  removeDurable,
  syncDirectory,
  temporarySuffix,
  writeDurable,
} from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { formatSnapshot, parseSnapshot, type Snapshot } from '../../model/snapshot/snapshot.ts';

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
    /** The document that will be stored; without it none is. */
    xml: z.string().optional(),
  }),
  z.object({
    kind: z.literal('revert'),
    name: z.string(),
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

const MAX_BYTES = 8 * 1024 * 1024;
const uuidRule = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const stateFile = 'state.json';

export class SnapshotStore {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** UUIDs of the domains that have any. */
  domains(): string[] {
    return namesIn(this.directory).filter((name) => uuidRule.test(name));
  }

  /** Reads all of a domain's; a document that can't be read is put aside and named in the log. */
  load(uuid: string): StoredSnapshots {
    const directory = this.of(uuid);
    const snapshots: Snapshot[] = [];
    for (const file of namesIn(directory)) {
      const path = join(directory, file);
      if (file.endsWith(temporarySuffix)) rmSync(path, { recursive: true, force: true });
      if (!file.endsWith('.xml')) continue;
      try {
        snapshots.push(readSnapshot(path, file.slice(0, -'.xml'.length)));
      } catch (error) {
        this.putAside(path, reasonOf(error));
      }
    }
    return { snapshots, state: this.loadState(uuid) };
  }

  private loadState(uuid: string): SnapshotState {
    const path = join(this.of(uuid), stateFile);
    try {
      return stateSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.putAside(path, reasonOf(error));
      return { images: [] };
    }
  }

  private putAside(path: string, reason: string): void {
    const aside = `${path}.${Date.now()}.broken`;
    try {
      renameSync(path, aside);
      this.log.error({ file: path, aside, reason }, 'a stored snapshot is broken and was put aside');
    } catch (error) {
      this.log.error({ file: path, reason, problem: reasonOf(error) }, 'a stored snapshot is broken');
    }
  }

  /** Stores a document for good. @throws VirtError file.* */
  async save(uuid: string, snapshot: Snapshot): Promise<void> {
    await this.makeDirectory(uuid);
    await writeDurable(join(this.of(uuid), `${snapshot.name}.xml`), storedText(uuid, snapshot));
  }

  async saveState(uuid: string, state: SnapshotState): Promise<void> {
    await this.makeDirectory(uuid);
    const { current, pending, images } = state;
    const text = JSON.stringify({
      format: 1,
      ...(current !== undefined && { current }),
      ...(pending && { pending }),
      ...(images.length > 0 && { images: [...images] }),
    } satisfies z.input<typeof stateSchema>);
    await writeDurable(join(this.of(uuid), stateFile), `${text}\n`);
  }

  /** Forgets one, with what was kept beside it. */
  async remove(uuid: string, name: string): Promise<void> {
    await removeDurable(join(this.of(uuid), `${name}.xml`));
    for (const path of Object.values(this.besides(uuid, name)))
      await rm(path, { recursive: true, force: true });
  }

  /** Forgets all of a domain's. */
  async removeAll(uuid: string): Promise<void> {
    try {
      await rm(this.of(uuid), { recursive: true, force: true });
      await syncDirectory(this.directory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove snapshots', this.of(uuid));
    }
  }

  /** Where copies of firmware variables and of the TPM's state are kept beside a snapshot. */
  besides(uuid: string, name: string): { readonly nvram: string; readonly tpm: string } {
    const base = join(this.of(uuid), name);
    return { nvram: `${base}.nvram`, tpm: `${base}.tpm` };
  }

  async makeDirectory(uuid: string): Promise<void> {
    await ensureDirectory(this.of(uuid), 0o700);
  }

  private of(uuid: string): string {
    return join(this.directory, uuid);
  }
}

/** The text of the file: complete, with secrets (the file is 0600). */
export function storedText(uuid: string, snapshot: Snapshot): string {
  return formatSnapshot(snapshot, { secure: true, uuid });
}

/** @throws Error that says what is wrong with the file */
function readSnapshot(path: string, name: string): Snapshot {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error('it is not a regular file');
  if (stat.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
  return readStored(readFileSync(path, 'utf8'), name);
}

/** @throws Error, VirtError xml.* */
export function readStored(text: string, name: string): Snapshot {
  const { definition } = parseSnapshot(text, { mode: 'lenient' });
  const { state, creationTime = 0 } = definition;
  if (definition.name !== name) throw new Error('it has another name than its file');
  if (state === undefined) throw new Error('it has no state');
  return { ...definition, name, state, creationTime };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
