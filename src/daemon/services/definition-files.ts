/** Stored definitions on their way into the registry: at start-up, and when an administrator has changed files. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { QuarantinedFile, StoredDefinition } from '../state/definitions.ts';
import { Domain } from './domain.ts';
import { type DomainFacts, type DomainWorld, factsOf, parseTrusted, runJob } from './world.ts';

type ReadDefinition = StoredDefinition & { readonly isEdited: boolean };

export class DefinitionFiles {
  private readonly world: DomainWorld;
  private aside: QuarantinedFile[] = [];

  constructor(world: DomainWorld) {
    this.world = world;
  }

  /** Files that could not be read and were put aside, now or by an earlier daemon. */
  get quarantined(): readonly QuarantinedFile[] {
    return this.aside;
  }

  /** Loads the definitions. No XML is parsed, except of files that were edited by hand. */
  load(): void {
    const earlier = this.world.definitions.quarantined();
    const { definitions, quarantined } = this.world.definitions.loadAll();
    this.aside = [...earlier, ...quarantined];
    for (const stored of definitions) this.add(stored);
  }

  /**
   * Looks at the files again: new and changed ones are taken over, a broken one is put aside and named in an event; a
   * domain whose file broke goes on with the definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    this.aside = this.world.definitions.quarantined();
    for (const file of this.world.definitions.files()) {
      const domain = this.world.registry.withUuid(file.slice(0, -'.xml'.length));
      try {
        if (domain?.isPersistent) await runJob(this.world, domain, 'reload', () => this.reload(domain, file));
        else if (domain === undefined) this.addNew(file);
      } catch (error) {
        this.world.log.error({ err: error, file }, 'a definition could not be read again');
      }
    }
  }

  /** @throws VirtError domain.quarantined when the text names a domain whose definition was put aside */
  refuseQuarantined(text: string): void {
    const found = this.aside.find(({ uuid, name }) => uuid === text.toLowerCase() || name === text);
    if (found === undefined) return;
    throw new VirtError('domain.quarantined', {
      wanted: `use domain '${found.name ?? text}'`,
      reason: `its definition cannot be used: ${found.reason}`,
      hint: `it lies in ${found.path}; define the domain anew, or mend that file and put it back`,
      details: { file: found.path },
    });
  }

  private addNew(file: string): void {
    try {
      const stored = this.world.definitions.read(file);
      if (this.world.registry.withName(stored.name))
        throw new Error(`another domain is named '${stored.name}'`);
      if (this.add(stored)) this.tellDefined(stored.uuid, true);
    } catch (error) {
      this.putAside(file, reasonOf(error));
    }
  }

  private async reload(domain: Domain, file: string): Promise<void> {
    let problem: string | undefined;
    try {
      const stored = this.world.definitions.read(file);
      const isSame = stored.xml === domain.xml && stored.autostart === domain.autostart;
      if (isSame && stored.name === domain.name) return;
      problem = this.checkEdited(stored, domain.name);
      if (problem === undefined) {
        this.take(domain, stored);
        return this.tellDefined(domain.uuid, false);
      }
    } catch (error) {
      problem = reasonOf(error);
    }
    this.putAside(file, problem);
    const { uuid, name, autostart, autostartOnce, xml = '', facts, extra } = domain;
    await this.world.definitions.save({
      uuid,
      name,
      autostart,
      autostartOnce,
      xml,
      ...(facts && { facts: { ...facts } }),
      ...(extra && { extra }),
    });
    this.world.log.warn({ domain: name }, 'the definition in use was written again');
  }

  /** Adds a stored definition; false when it is broken after all, and put aside. */
  private add(stored: ReadDefinition): boolean {
    const facts = readFacts(stored.facts);
    if (stored.isEdited || facts === undefined) {
      const problem = this.checkEdited(stored, stored.name);
      if (problem !== undefined) {
        this.putAside(`${stored.uuid}.xml`, problem);
        return false;
      }
    }
    const domain = new Domain(stored.uuid, stored.name);
    this.take(domain, stored);
    this.world.registry.add(domain);
    return true;
  }

  private take(domain: Domain, stored: ReadDefinition): void {
    domain.xml = stored.xml;
    domain.autostart = stored.autostart;
    domain.autostartOnce = stored.autostartOnce ?? false;
    domain.extra = stored.extra;
    domain.facts = readFacts(stored.facts);
    domain.isEdited = stored.isEdited;
    if (!stored.isEdited && domain.facts !== undefined) return;
    domain.facts = factsOf(parseTrusted(stored.xml));
    domain.isEdited = true;
    this.world.log.warn(
      { domain: domain.name },
      'the stored definition was edited by hand and is used as it is',
    );
  }

  /** A file that was changed by hand must still be a definition of this domain; returns what is wrong. */
  private checkEdited(stored: ReadDefinition, name: string): string | undefined {
    try {
      const definition = parseTrusted(stored.xml);
      if (definition.uuid !== stored.uuid) return 'the definition has another UUID than the file';
      if (definition.name !== name || stored.name !== name)
        return `the definition is named '${definition.name}', the header '${stored.name}'`;
      return undefined;
    } catch (error) {
      return isVirtError(error) ? error.reason : reasonOf(error);
    }
  }

  private putAside(file: string, reason: string): void {
    const aside = this.world.definitions.quarantine(file, reason);
    this.aside.push(aside);
    this.world.events.publish({
      event: 'domain.quarantined',
      file: aside.path,
      reason: aside.reason,
      name: aside.name ?? null,
      uuid: aside.uuid ?? null,
    });
  }

  private tellDefined(uuid: string, isNew: boolean): void {
    const domain = this.world.registry.withUuid(uuid);
    if (domain) this.world.events.emit('domain.defined', domain.identity, { isNew, fromSnapshot: false });
  }
}

function readFacts(raw: Readonly<Record<string, unknown>> | undefined): DomainFacts | undefined {
  if (typeof raw?.['memoryBytes'] !== 'number' || typeof raw['vcpus'] !== 'number') return undefined;
  if (typeof raw['virtType'] !== 'string') return undefined;
  return {
    ...(typeof raw['title'] === 'string' && { title: raw['title'] }),
    memoryBytes: raw['memoryBytes'],
    vcpus: raw['vcpus'],
    virtType: raw['virtType'],
    ...readSize(raw['size']),
    ...readDisks(raw['disks']),
  };
}

function readSize(raw: unknown): Pick<DomainFacts, 'size'> {
  if (typeof raw !== 'object' || raw === null) return {};
  const { maxVcpus, currentMemoryKiB, osType } = raw as Readonly<Record<string, unknown>>;
  if (typeof maxVcpus !== 'number' || typeof currentMemoryKiB !== 'number' || typeof osType !== 'string')
    return {};
  return { size: { maxVcpus, currentMemoryKiB, osType } };
}

/** All or none: what is not as this version writes it is read from the definition. */
function readDisks(raw: unknown): Pick<DomainFacts, 'disks'> {
  if (!Array.isArray(raw)) return {};
  const disks = raw.map((one: unknown) => {
    const { target, path, isQcow2 } = (one ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof target !== 'string' || (path !== undefined && typeof path !== 'string')) return undefined;
    return {
      target,
      ...(path !== undefined && { path }),
      ...(isQcow2 === true && { isQcow2: true as const }),
    };
  });
  return disks.includes(undefined) ? {} : { disks: disks.filter((disk) => disk !== undefined) };
}
