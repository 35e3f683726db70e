/** Checkpoints of domains on disk: their documents, and which is the current one. */
import * as z from 'zod';
import type { Logger } from '../../base/log.ts';
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '../../model/checkpoint/checkpoint.ts';
import { DomainDocuments } from './domain-documents.ts';

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

export class CheckpointStore {
  private readonly files: DomainDocuments<Checkpoint, CheckpointState>;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.files = new DomainDocuments<Checkpoint, CheckpointState>({
      ...options,
      noun: 'checkpoint',
      read: readStored,
      readState: (value) => stateSchema.parse(value),
      noState: {},
    });
  }

  /** UUIDs of the domains that have any. */
  domains(): string[] {
    return this.files.domains();
  }

  /** Reads all of a domain's; a document that can't be read is put aside and named in the log. */
  load(uuid: string): { readonly checkpoints: readonly Checkpoint[]; readonly state: CheckpointState } {
    const { documents, state } = this.files.load(uuid);
    return { checkpoints: documents, state };
  }

  /** Stores a document for good, with secrets (the file is 0600). @throws VirtError file.* */
  async save(uuid: string, checkpoint: Checkpoint): Promise<void> {
    await this.files.save(uuid, checkpoint.name, formatCheckpoint(checkpoint, { secure: true }));
  }

  /** @throws VirtError file.* */
  async saveState(uuid: string, { current, pending }: CheckpointState): Promise<void> {
    const state: z.input<typeof stateSchema> = {
      format: 1,
      ...(current !== undefined && { current }),
      ...(pending !== undefined && { pending }),
    };
    await this.files.saveState(uuid, state);
  }

  /** @throws VirtError file.* */
  async remove(uuid: string, name: string): Promise<void> {
    await this.files.remove(uuid, name);
  }

  /** Forgets all of a domain's. @throws VirtError file.* */
  async removeAll(uuid: string): Promise<void> {
    await this.files.removeAll(uuid);
  }
}

/** @throws Error, VirtError that say what is wrong with the text */
function readStored(text: string, name: string): Checkpoint {
  const { definition } = parseCheckpoint(text, { mode: 'lenient' });
  if (definition.name !== name) throw new Error('it has another name than its file');
  return { ...definition, name, creationTime: definition.creationTime ?? 0 };
}
