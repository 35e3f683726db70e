/** Checkpoints of domains on disk: a directory for each domain, a document for each checkpoint, and which is the current one. */
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
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '../../model/checkpoint/checkpoint.ts';

const stateSchema = z.looseObject({
  format: z.literal(1),
  current: z.string().optional(),
  /** One whose document is there, while its bitmaps may not be yet. */
  pending: z.string().optional(),
});

/** What is known besides the documents. */
export interface CheckpointState {
  readonly current?: string | undefined;
  readonly pending?: string | undefined;
}

const MAX_BYTES = 8 * 1024 * 1024;
const uuidRule = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const stateFile = 'state.json';

export class CheckpointStore {
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
  load(uuid: string): { readonly checkpoints: readonly Checkpoint[]; readonly state: CheckpointState } {
    const checkpoints: Checkpoint[] = [];
    for (const file of namesIn(this.of(uuid))) {
      const path = join(this.of(uuid), file);
      if (file.endsWith(temporarySuffix)) rmSync(path, { recursive: true, force: true });
      if (!file.endsWith('.xml')) continue;
      try {
        checkpoints.push(readCheckpoint(path, file.slice(0, -'.xml'.length)));
      } catch (error) {
        this.putAside(path, reasonOf(error));
      }
    }
    return { checkpoints, state: this.loadState(uuid) };
  }

  private loadState(uuid: string): CheckpointState {
    const path = join(this.of(uuid), stateFile);
    try {
      return stateSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.putAside(path, reasonOf(error));
      return {};
    }
  }

  private putAside(path: string, reason: string): void {
    const aside = `${path}.${Date.now()}.broken`;
    try {
      renameSync(path, aside);
      this.log.error({ file: path, aside, reason }, 'a stored checkpoint is broken and was put aside');
    } catch (error) {
      this.log.error({ file: path, reason, problem: reasonOf(error) }, 'a stored checkpoint is broken');
    }
  }

  /** Stores a document for good, with secrets (the file is 0600). @throws VirtError file.* */
  async save(uuid: string, checkpoint: Checkpoint): Promise<void> {
    await ensureDirectory(this.of(uuid), 0o700);
    const path = join(this.of(uuid), `${checkpoint.name}.xml`);
    await writeDurable(path, formatCheckpoint(checkpoint, { secure: true }));
  }

  async saveState(uuid: string, { current, pending }: CheckpointState): Promise<void> {
    await ensureDirectory(this.of(uuid), 0o700);
    const state: z.input<typeof stateSchema> = {
      format: 1,
      ...(current !== undefined && { current }),
      ...(pending !== undefined && { pending }),
    };
    await writeDurable(join(this.of(uuid), stateFile), `${JSON.stringify(state)}\n`);
  }

  async remove(uuid: string, name: string): Promise<void> {
    await removeDurable(join(this.of(uuid), `${name}.xml`));
  }

  /** Forgets all of a domain's. */
  async removeAll(uuid: string): Promise<void> {
    try {
      await rm(this.of(uuid), { recursive: true, force: true });
      await syncDirectory(this.directory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove checkpoints', this.of(uuid));
    }
  }

  private of(uuid: string): string {
    return join(this.directory, uuid);
  }
}

/** @throws Error, VirtError that say what is wrong with the file */
function readCheckpoint(path: string, name: string): Checkpoint {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error('it is not a regular file');
  if (stat.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
  const { definition } = parseCheckpoint(readFileSync(path, 'utf8'), { mode: 'lenient' });
  if (definition.name !== name) throw new Error('it has another name than its file');
  return { ...definition, name, creationTime: definition.creationTime ?? 0 };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
