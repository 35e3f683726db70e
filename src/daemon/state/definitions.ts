/** Stored definitions of one kind (domains, networks, pools): one file each, durable, readable, and read without parsing XML. */
import { hash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, isVirtError, reasonOf } from '../../base/errors.ts';
import {
  type DurableOptions,
  ensureDirectory,
  removeDurable,
  temporarySuffix,
  writeDurable,
} from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';

/** Work within that of the store (DurableOptions). */
export type WithinSave = Pick<DurableOptions, 'meanwhile' | 'before'>;

/** One stored definition. `xml` is the inactive, secure form; it may have been edited by hand (`isEdited`). */
export interface StoredDefinition {
  readonly uuid: string;
  readonly name: string;
  readonly autostart: boolean;
  /** Started with the host the next time, and only then; domains alone have it. */
  readonly autostartOnce?: boolean;
  readonly xml: string;
  /** What lists show (DomainFacts, NetworkFacts, PoolFacts in services/), so that a list parses no XML; absent after an edit by hand. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Facts of the header that this version doesn't know; written back as they are (an older daemon after a newer). */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** A file that could not be used and was put aside. */
export interface QuarantinedFile {
  readonly originalPath: string;
  readonly path: string;
  readonly reason: string;
  readonly atMs: number;
  /** As its header or the name of the file tells, where they tell. */
  readonly name?: string;
  readonly uuid?: string;
}

export interface LoadedDefinitions {
  readonly definitions: (StoredDefinition & { readonly isEdited: boolean })[];
  readonly quarantined: QuarantinedFile[];
}

type StoredNoun = 'domain' | 'network' | 'pool' | 'secret' | 'network filter';

const FORMAT = 1;
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const uuidRule = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const headerRule = /^<!-- vireo (\{.*\}) -->\n/;

/** Beside each quarantined file lies one with this ending that says why, in JSON. */
const noteSuffix = '.why';

const noteSchema = z.object({
  originalPath: z.string(),
  reason: z.string(),
  atMs: z.number(),
  name: z.string().optional(),
  uuid: z.string().optional(),
});

/** The store of one directory. Reading is synchronous: it happens at start-up, and when an administrator asks. */
export class DefinitionStore {
  private readonly directory: string;
  private readonly quarantineDirectory: string;
  private readonly noun: StoredNoun;
  private readonly log: Logger;

  constructor(options: {
    directory: string;
    quarantine: string;
    /** What the definitions are of (default: domains). */
    noun?: StoredNoun;
    log: Logger;
  }) {
    this.noun = options.noun ?? 'domain';
    this.directory = options.directory;
    this.quarantineDirectory = options.quarantine;
    this.log = options.log;
  }

  /** Reads all definitions; what can't be read is moved to the quarantine and named, the rest is served. */
  loadAll(): LoadedDefinitions {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    const definitions: (StoredDefinition & { isEdited: boolean })[] = [];
    const quarantined: QuarantinedFile[] = [];
    const names = new Set<string>();
    for (const file of readdirSync(this.directory).sort()) {
      if (file.endsWith(temporarySuffix))
        rmSync(join(this.directory, file), { recursive: true, force: true });
      else if (file.endsWith('.xml')) {
        try {
          const definition = this.read(file);
          if (names.has(definition.name))
            throw new Error(`another stored ${this.noun} is named '${definition.name}'`);
          names.add(definition.name);
          definitions.push(definition);
        } catch (error) {
          quarantined.push(this.quarantine(file, reasonOf(error)));
        }
      } else
        this.log.warn({ file }, 'a file that is no definition lies among the definitions; it is left alone');
    }
    return { definitions, quarantined };
  }

  /** Names of the definition files, for a second look while the daemon runs. */
  files(): string[] {
    return readdirSync(this.directory)
      .filter((file) => file.endsWith('.xml'))
      .sort();
  }

  /** @throws Error that says what is wrong with the file */
  read(file: string): StoredDefinition & { isEdited: boolean } {
    const path = join(this.directory, file);
    const uuid = file.slice(0, -'.xml'.length);
    if (!uuidRule.test(uuid)) throw new Error('the file name is not a UUID');
    const stat = statSync(path);
    if (!stat.isFile()) throw new Error('it is not a regular file');
    if (stat.size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
    return parseStored(readFileSync(path, 'utf8'), uuid);
  }

  /** Puts a file aside; when even that fails the file stays, and the reason says so. */
  quarantine(file: string, reason: string): QuarantinedFile {
    const originalPath = join(this.directory, file);
    const atMs = Date.now();
    const path = join(this.quarantineDirectory, `${file}.${atMs}`);
    const facts = this.factsOf(file);
    try {
      mkdirSync(this.quarantineDirectory, { recursive: true, mode: 0o700 });
      const note: z.input<typeof noteSchema> = { originalPath, reason, atMs, ...facts };
      writeFileSync(`${path}${noteSuffix}`, JSON.stringify(note), { mode: 0o600 });
      renameSync(originalPath, path);
    } catch (error) {
      this.log.error({ err: error, file: originalPath }, 'a broken definition could not be put aside');
      return {
        originalPath,
        path: originalPath,
        reason: `${reason}; it could not be moved: ${reasonOf(error)}`,
        atMs,
        ...facts,
      };
    }
    this.log.error(
      { file: originalPath, quarantine: path, reason },
      'a stored definition is broken and was put aside',
    );
    return { originalPath, path, reason, atMs, ...facts };
  }

  /** Which one a broken file was of, as far as it can be told. */
  private factsOf(file: string): Pick<QuarantinedFile, 'name' | 'uuid'> {
    const uuid = file.slice(0, -'.xml'.length);
    const known = uuidRule.test(uuid) ? { uuid } : {};
    try {
      return { ...known, name: this.read(file).name };
    } catch {
      return known; // that it can't be read is why it is put aside
    }
  }

  /** What lies in the quarantine since earlier; a note whose file was taken away counts no more. */
  quarantined(): QuarantinedFile[] {
    const found: QuarantinedFile[] = [];
    for (const file of namesIn(this.quarantineDirectory).filter((name) => name.endsWith(noteSuffix))) {
      const path = join(this.quarantineDirectory, file.slice(0, -noteSuffix.length));
      try {
        if (statSync(path, { throwIfNoEntry: false }) === undefined) continue;
        const { name, uuid, ...note } = noteSchema.parse(
          JSON.parse(readFileSync(join(this.quarantineDirectory, file), 'utf8')),
        );
        found.push({
          path,
          ...note,
          ...(name !== undefined && { name }),
          ...(uuid !== undefined && { uuid }),
        });
      } catch (error) {
        this.log.warn({ file, reason: reasonOf(error) }, 'a note in the quarantine cannot be read');
      }
    }
    return found;
  }

  /**
   * Stores a definition for good; the old one stays whole until the new one is in place. When what is done within throws,
   * nothing has changed.
   */
  save(definition: StoredDefinition, within?: WithinSave): Promise<void> {
    return this.saveComposed(definition.uuid, () => definition, within);
  }

  /** As save, for one whose text is made while its file is being opened. */
  async saveComposed(uuid: string, compose: () => StoredDefinition, within: WithinSave = {}): Promise<void> {
    const path = this.pathOf(uuid);
    let isComposed = false;
    const text = (): string => {
      isComposed = true;
      return formatStored(compose());
    };
    const options = { mode: 0o600, ...within };
    try {
      await writeDurable(path, text, options);
    } catch (error) {
      // What is done within may miss files of its own, and is not done twice.
      if (isComposed || !isVirtError(error, 'file.not-found')) throw error;
      // The directory, made when the daemon started, was taken away.
      await ensureDirectory(this.directory, 0o700);
      await writeDurable(path, text, options);
    }
  }

  async remove(uuid: string): Promise<void> {
    await removeDurable(this.pathOf(uuid));
  }

  private pathOf(uuid: string): string {
    return join(this.directory, `${uuid}.xml`);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function checksum(xml: string): string {
  return hash('sha256', xml);
}

/** The file: a comment line of JSON, then the XML. A comment can't hold `--`, so hyphens in it are escaped in pairs. */
export function formatStored(definition: StoredDefinition): string {
  const header = {
    ...definition.extra,
    format: FORMAT,
    name: definition.name,
    uuid: definition.uuid,
    autostart: definition.autostart,
    ...(definition.autostartOnce === true && { autostartOnce: true }),
    facts: definition.facts,
    sha256: checksum(definition.xml),
  };
  return `<!-- vireo ${JSON.stringify(header).replace(/--/g, '-\\u002d')} -->\n${definition.xml}`;
}

/**
 * Reads what formatStored wrote. A body that doesn't fit its checksum was edited by hand (or torn): the caller must
 * parse it before it trusts it.
 */
export function parseStored(text: string, uuid: string): StoredDefinition & { isEdited: boolean } {
  const match = headerRule.exec(text);
  if (!match) throw new Error('the first line is not a header of ours');
  const header: unknown = JSON.parse(match[1] ?? '');
  if (typeof header !== 'object' || header === null) throw new Error('the header is not an object');
  const {
    format,
    name,
    uuid: storedUuid,
    autostart,
    autostartOnce,
    facts,
    sha256,
    ...extra
  } = header as Record<string, unknown>;
  if (format !== FORMAT) throw new Error(`format ${String(format)} is not known to this version`);
  if (typeof name !== 'string' || name === '' || typeof autostart !== 'boolean')
    throw new Error('the header is incomplete');
  if (storedUuid !== uuid) throw new Error('the header names another UUID than the file');
  const xml = text.slice(match[0].length);
  const isEdited = checksum(xml) !== sha256;
  const kept = {
    ...(autostartOnce === true && { autostartOnce }),
    ...(Object.keys(extra).length > 0 && { extra }),
    ...(!isEdited &&
      typeof facts === 'object' &&
      facts !== null && { facts: facts as Record<string, unknown> }),
  };
  return { uuid, name, autostart, xml, isEdited, ...kept };
}
