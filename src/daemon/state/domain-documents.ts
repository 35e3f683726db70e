/**
 * Documents that belong to domains (snapshots, checkpoints) on disk: a directory for each domain, an XML file for each
 * document, and a state file for what is known besides.
 */
import { readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError, isVirtError, reasonOf } from '../../base/errors.ts';
import {
  ensureDirectory,
  removeDurable,
  syncDirectory,
  temporarySuffix,
  writeDurable,
} from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';

const MAX_BYTES = 8 * 1024 * 1024;
const uuidRule = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const stateFile = 'state.json';
const ending = '.xml';

export interface DomainDocumentsOptions<Document, State> {
  readonly directory: string;
  /** `snapshot`: for the log and errors. */
  readonly noun: string;
  readonly log: Logger;
  /** @throws Error, VirtError that say what is wrong with the text */
  readonly read: (text: string, name: string) => Document;
  /** @throws Error that says what is wrong with the state */
  readonly readState: (value: unknown) => State;
  readonly noState: State;
}

export class DomainDocuments<Document, State> {
  private readonly options: DomainDocumentsOptions<Document, State>;

  constructor(options: DomainDocumentsOptions<Document, State>) {
    this.options = options;
  }

  /** UUIDs of the domains that have any. */
  domains(): string[] {
    return namesIn(this.options.directory).filter((name) => uuidRule.test(name));
  }

  /** Reads all of a domain's; what can't be read is put aside and named in the log. */
  load(uuid: string): { readonly documents: readonly Document[]; readonly state: State } {
    const documents: Document[] = [];
    for (const file of namesIn(this.of(uuid))) {
      const path = join(this.of(uuid), file);
      if (file.endsWith(temporarySuffix)) rmSync(path, { recursive: true, force: true });
      if (!file.endsWith(ending)) continue;
      try {
        documents.push(this.options.read(textOf(path), file.slice(0, -ending.length)));
      } catch (error) {
        this.putAside(path, reasonOf(error));
      }
    }
    return { documents, state: this.loadState(uuid) };
  }

  private loadState(uuid: string): State {
    const path = join(this.of(uuid), stateFile);
    try {
      return this.options.readState(JSON.parse(readFileSync(path, 'utf8')));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') this.putAside(path, reasonOf(error));
      return this.options.noState;
    }
  }

  private putAside(path: string, reason: string): void {
    const { log, noun } = this.options;
    const aside = `${path}.${Date.now()}.broken`;
    try {
      renameSync(path, aside);
      log.error({ file: path, aside, reason }, `a stored ${noun} is broken and was put aside`);
    } catch (error) {
      log.error({ file: path, reason, problem: reasonOf(error) }, `a stored ${noun} is broken`);
    }
  }

  /** Stores a document for good, with its secrets (the file is 0600). @throws VirtError file.* */
  async save(uuid: string, name: string, text: string): Promise<void> {
    await this.write(uuid, this.fileOf(uuid, name), text);
  }

  /** @throws VirtError file.* */
  async saveState(uuid: string, state: object): Promise<void> {
    await this.write(uuid, join(this.of(uuid), stateFile), `${JSON.stringify(state)}\n`);
  }

  /** The directory is there, but for a domain's first document: it costs several trips to the disk to make sure. */
  private async write(uuid: string, path: string, text: string): Promise<void> {
    try {
      await writeDurable(path, text);
    } catch (error) {
      if (!isVirtError(error, 'file.not-found')) throw error;
      await this.makeDirectory(uuid);
      await syncDirectory(this.options.directory);
      await writeDurable(path, text);
    }
  }

  /** @throws VirtError file.* */
  async remove(uuid: string, name: string): Promise<void> {
    await removeDurable(this.fileOf(uuid, name));
  }

  /** Forgets all of a domain's. @throws VirtError file.* */
  async removeAll(uuid: string): Promise<void> {
    try {
      await rm(this.of(uuid), { recursive: true, force: true });
      await syncDirectory(this.options.directory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, `remove ${this.options.noun}s`, this.of(uuid));
    }
  }

  async makeDirectory(uuid: string): Promise<void> {
    await ensureDirectory(this.of(uuid), 0o700);
  }

  /** Where all of a domain's lie. */
  of(uuid: string): string {
    return join(this.options.directory, uuid);
  }

  private fileOf(uuid: string, name: string): string {
    return join(this.of(uuid), `${name}${ending}`);
  }
}

/** @throws Error that says what is wrong with the file */
function textOf(path: string): string {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error('it is not a regular file');
  if (stat.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
  return readFileSync(path, 'utf8');
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
