/** Records of deleted definitions on disk: `ID.json` with the definition, and `ID/` with the files that belonged to it. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nanoid } from 'nanoid';
import * as z from 'zod';
import { errnoOf, fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, readText, removeDurable, writeAtomic } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { bringBack, forgetTree, keepTree } from './undo-files.ts';

const MAX_RECORD_BYTES = 16 * 1024 * 1024;
/** With more than so many, the oldest go before their time. */
const MAX_RECORDS = 500;
const idRule = /^([0-9a-z]+-[\w-]{8})\.json$/;

const recordSchema = z.object({
  version: z.literal(1),
  type: z.enum(['domain', 'network', 'pool']),
  uuid: z.string(),
  name: z.string(),
  deletedAtMs: z.number(),
  autostart: z.boolean(),
  xml: z.string(),
  files: z.array(z.object({ kind: z.string(), path: z.string() })),
});

type UndoRecord = z.output<typeof recordSchema>;

/** Something that was deleted, as lists show it. */
export type UndoEntry = Omit<UndoRecord, 'version' | 'xml' | 'files'> & { readonly id: string };

/** What is to be kept of an object. */
export interface Deleted {
  readonly type: UndoRecord['type'];
  readonly uuid: string;
  readonly name: string;
  readonly autostart: boolean;
  readonly xml: string;
  /** Files and directories that go with it, by what they are. */
  readonly files: readonly { readonly kind: string; readonly path: string }[];
}

export class UndoStore {
  private readonly directory: string;
  private readonly log: Logger;
  private known: Map<string, UndoEntry> | undefined;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** Keeps a record; gives its entry. Where that fails, nothing is left. @throws VirtError file.* */
  async put(deleted: Deleted): Promise<UndoEntry> {
    const known = await this.load();
    const deletedAtMs = Date.now();
    const id = `${deletedAtMs.toString(36)}-${nanoid(8)}`;
    const { type, uuid, name, autostart, xml } = deleted;
    await ensureDirectory(this.directory, 0o700);
    const files: UndoRecord['files'] = [];
    try {
      for (const file of deleted.files) {
        await keepTree(file.path, join(this.directory, id, file.kind));
        files.push({ ...file });
      }
      const record: UndoRecord = { version: 1, type, uuid, name, deletedAtMs, autostart, xml, files };
      await writeAtomic(this.pathOf(id), JSON.stringify(record));
    } catch (error) {
      await forgetTree(join(this.directory, id)).catch(() => undefined); // the first error is the one to tell
      throw error;
    }
    const entry = { id, type, uuid, name, deletedAtMs, autostart };
    known.set(id, entry);
    for (const { id: oldest } of [...known.values()].slice(0, Math.max(0, known.size - MAX_RECORDS)))
      await this.remove(oldest);
    return entry;
  }

  /** All that is kept, the oldest first. */
  async list(): Promise<UndoEntry[]> {
    return [...(await this.load()).values()];
  }

  /** The definition. @throws VirtError file.*, operation.failed for a record that is broken */
  async definition(id: string): Promise<string> {
    return (await this.read(id)).xml;
  }

  /** Brings the files back to where they were; what is there already stays. @throws VirtError file.* */
  async restoreFiles(id: string): Promise<void> {
    for (const { kind, path } of (await this.read(id)).files)
      await bringBack(join(this.directory, id, kind), path);
  }

  /** Forgets a record for good. @throws VirtError file.* */
  async remove(id: string): Promise<void> {
    await removeDurable(this.pathOf(id));
    await forgetTree(join(this.directory, id));
    (await this.load()).delete(id);
  }

  private pathOf(id: string): string {
    return join(this.directory, `${id}.json`);
  }

  private async read(id: string): Promise<UndoRecord> {
    const path = this.pathOf(id);
    try {
      return recordSchema.parse(JSON.parse(await readText(path, MAX_RECORD_BYTES)));
    } catch (error) {
      if (error instanceof VirtError) throw error;
      throw new VirtError('operation.failed', {
        wanted: 'undo a deletion',
        reason: `the record ${path} is broken`,
        hint: 'its definition may still be read there; define it by hand',
        cause: error,
      });
    }
  }

  /** Reads what is there, once. Broken records are named and left alone. */
  private async load(): Promise<Map<string, UndoEntry>> {
    if (this.known !== undefined) return this.known;
    const found: UndoEntry[] = [];
    for (const file of await this.names()) {
      const id = idRule.exec(file)?.[1];
      if (id === undefined) continue;
      try {
        const { type, uuid, name, deletedAtMs, autostart } = await this.read(id);
        found.push({ id, type, uuid, name, deletedAtMs, autostart });
      } catch (error) {
        this.log.warn({ path: this.pathOf(id), reason: reasonOf(error) }, 'a record of undo is broken');
      }
    }
    found.sort((a, b) => a.deletedAtMs - b.deletedAtMs);
    this.known ??= new Map(found.map((entry) => [entry.id, entry]));
    return this.known;
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.directory);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'look for records of undo', this.directory);
    }
  }
}
