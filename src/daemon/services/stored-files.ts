/** Stored definitions of one kind (networks, pools) on their way into the registry. Broken ones are put aside and named. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { DefinitionStore, QuarantinedFile, StoredDefinition } from '../state/definitions.ts';

type StoredNoun = 'network' | 'pool';

/** What `DefinitionStore.read` gives. */
type ReadDefinition = StoredDefinition & { readonly isEdited: boolean };

/** What is stored, as the daemon holds it. */
interface StoredItem<Facts extends object> {
  readonly uuid: string;
  readonly name: string;
  readonly isPersistent: boolean;
  autostart: boolean;
  xml: string | undefined;
  facts: Facts | undefined;
  extra: Readonly<Record<string, unknown>> | undefined;
}

/** How one kind of object is read, kept and told of. */
export interface StoredKind<Item extends StoredItem<Facts>, Facts extends object> {
  readonly noun: StoredNoun;
  readonly definitions: DefinitionStore;
  readonly registry: {
    withUuid(uuid: string): Item | undefined;
    withName(name: string): Item | undefined;
    add(item: Item): void;
  };
  readonly log: Logger;
  make(uuid: string, name: string): Item;
  /** Undefined where the header has none that this version knows. */
  readFacts(raw: Readonly<Record<string, unknown>>): Facts | undefined;
  /** What a definition says; throws for one that is none. */
  inspect(xml: string): { readonly uuid: string; readonly name: string; readonly facts: Facts };
  /** Runs work as a job of the item. */
  runJob(item: Item, name: string, work: () => Promise<void>): Promise<void>;
  tellDefined(item: Item, isNew: boolean): void;
  tellAside(file: {
    readonly file: string;
    readonly reason: string;
    readonly name: string | null;
    readonly uuid: string | null;
  }): void;
}

/** The files of all definitions of one kind. */
export class StoredFiles<Item extends StoredItem<Facts>, Facts extends object> {
  private readonly kind: StoredKind<Item, Facts>;
  private aside: QuarantinedFile[] = [];

  constructor(kind: StoredKind<Item, Facts>) {
    this.kind = kind;
  }

  /** Files that could not be read and were put aside, now or by an earlier daemon. */
  get quarantined(): readonly QuarantinedFile[] {
    return this.aside;
  }

  /** Loads all definitions. No XML is parsed, except of files that were edited by hand. */
  load(): void {
    const earlier = this.kind.definitions.quarantined();
    const { definitions, quarantined } = this.kind.definitions.loadAll();
    this.aside = [...earlier, ...quarantined];
    for (const stored of definitions) {
      try {
        this.kind.registry.add(this.itemOf(stored));
      } catch (error) {
        this.putAside(`${stored.uuid}.xml`, reasonOf(error));
      }
    }
  }

  /**
   * Looks at the files again: new and changed ones are taken over, and count from the next start of their object. A
   * broken one is put aside; the object goes on with the definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    const { definitions, registry, log, noun } = this.kind;
    this.aside = definitions.quarantined();
    for (const file of definitions.files()) {
      const item = registry.withUuid(file.slice(0, -'.xml'.length));
      try {
        if (item?.isPersistent) await this.kind.runJob(item, 'reload', () => this.readAgain(item, file));
        else if (item === undefined) this.addNew(file);
      } catch (error) {
        log.error({ err: error, file }, `a ${noun} could not be read again`);
      }
    }
  }

  /** @throws VirtError network.quarantined, pool.quarantined when the text names one whose definition was put aside */
  refuseQuarantined(text: string): void {
    const found = this.aside.find(({ uuid, name }) => uuid === text.toLowerCase() || name === text);
    if (found === undefined) return;
    const { noun } = this.kind;
    throw new VirtError(`${noun}.quarantined`, {
      wanted: `use ${noun} '${found.name ?? text}'`,
      reason: `its definition cannot be used: ${found.reason}`,
      hint: `it lies in ${found.path}; define the ${noun} anew, or mend that file and put it back`,
      details: { file: found.path },
    });
  }

  private addNew(file: string): void {
    const { definitions, registry, noun } = this.kind;
    try {
      const item = this.itemOf(definitions.read(file));
      if (registry.withName(item.name)) throw new Error(`another ${noun} is named '${item.name}'`);
      registry.add(item);
      this.kind.tellDefined(item, true);
    } catch (error) {
      this.putAside(file, reasonOf(error));
    }
  }

  private async readAgain(item: Item, file: string): Promise<void> {
    const { definitions, log, noun } = this.kind;
    const { uuid, name, autostart, xml = '', facts, extra } = item;
    try {
      const stored = definitions.read(file);
      if (stored.xml === xml && stored.autostart === autostart && stored.name === name) return;
      const fresh = this.itemOf(stored);
      if (fresh.name !== name) throw new Error(`the ${noun} is named '${name}', the file '${fresh.name}'`);
      item.xml = fresh.xml;
      item.facts = fresh.facts;
      item.autostart = fresh.autostart;
      item.extra = fresh.extra;
      this.kind.tellDefined(item, false);
    } catch (error) {
      this.putAside(file, reasonOf(error));
      await definitions.save({
        ...{ uuid, name, autostart, xml },
        ...(facts && { facts: Object.fromEntries(Object.entries(facts)) }),
        ...(extra && { extra }),
      });
      log.warn({ [noun]: name }, 'the definition in use was written again');
    }
  }

  /** @throws Error that says what is wrong with a file that was edited */
  private itemOf(stored: ReadDefinition): Item {
    const { kind } = this;
    const item = kind.make(stored.uuid, stored.name);
    item.xml = stored.xml;
    item.autostart = stored.autostart;
    item.extra = stored.extra;
    item.facts = kind.readFacts(stored.facts ?? {});
    if (!stored.isEdited && item.facts !== undefined) return item;
    const { uuid, name, facts } = kind.inspect(stored.xml);
    if (uuid !== stored.uuid) throw new Error('the definition has another UUID than the file');
    if (name !== stored.name)
      throw new Error(`the definition is named '${name}', the header '${stored.name}'`);
    item.facts = facts;
    return item;
  }

  private putAside(file: string, reason: string): void {
    const aside = this.kind.definitions.quarantine(file, reason);
    this.aside.push(aside);
    this.kind.tellAside({
      file: aside.path,
      reason: aside.reason,
      name: aside.name ?? null,
      uuid: aside.uuid ?? null,
    });
  }
}
