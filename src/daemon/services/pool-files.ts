/** Stored pools on their way into the registry at start-up. Broken ones are put aside and named. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import { poolTypes } from '../../model/storage/pool/pool.ts';
import type { QuarantinedFile, StoredDefinition } from '../state/definitions.ts';
import { Pool, type PoolFacts } from './pool.ts';
import { factsOf, type PoolWorld, parseTrusted, runPoolJob } from './pool-world.ts';

export class PoolFiles {
  private readonly world: PoolWorld;
  private aside: QuarantinedFile[] = [];

  constructor(world: PoolWorld) {
    this.world = world;
  }

  get quarantined(): readonly QuarantinedFile[] {
    return this.aside;
  }

  /** Loads all definitions. No XML is parsed, except of files that were edited by hand. */
  load(): void {
    const { definitions, quarantined } = this.world.definitions.loadAll();
    this.aside.push(...quarantined);
    for (const stored of definitions) {
      try {
        this.world.registry.add(poolOf(stored));
      } catch (error) {
        this.putAside(`${stored.uuid}.xml`, reasonOf(error));
      }
    }
  }

  /**
   * Looks at the files again: new and changed ones are taken over, and count from the next start of their pool. A
   * broken one is put aside; the pool goes on with the definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    this.aside = this.world.definitions.quarantined();
    for (const file of this.world.definitions.files()) {
      const pool = this.world.registry.withUuid(file.slice(0, -'.xml'.length));
      try {
        if (pool?.isPersistent)
          await runPoolJob(this.world, pool, 'reload', () => this.readAgain(pool, file));
        else if (pool === undefined) this.addNew(file);
      } catch (error) {
        this.world.log.error({ err: error, file }, 'a pool could not be read again');
      }
    }
  }

  private addNew(file: string): void {
    try {
      const pool = poolOf(this.world.definitions.read(file));
      if (this.world.registry.withName(pool.name)) throw new Error(`another pool is named '${pool.name}'`);
      this.world.registry.add(pool);
      this.world.events.publish({ event: 'pool.defined', pool: pool.identity, isNew: true });
    } catch (error) {
      this.putAside(file, reasonOf(error));
    }
  }

  private async readAgain(pool: Pool, file: string): Promise<void> {
    const { uuid, name, autostart, xml = '', facts, extra } = pool;
    try {
      const stored = this.world.definitions.read(file);
      if (stored.xml === xml && stored.autostart === autostart && stored.name === name) return;
      const fresh = poolOf(stored);
      if (fresh.name !== name) throw new Error(`the pool is named '${name}', the file '${fresh.name}'`);
      pool.xml = fresh.xml;
      pool.facts = fresh.facts;
      pool.autostart = fresh.autostart;
      pool.extra = fresh.extra;
      this.world.events.publish({ event: 'pool.defined', pool: pool.identity, isNew: false });
    } catch (error) {
      this.putAside(file, reasonOf(error));
      await this.world.definitions.save({
        ...{ uuid, name, autostart, xml },
        ...(facts && { facts: { ...facts } }),
        ...(extra && { extra }),
      });
      this.world.log.warn({ pool: name }, 'the definition in use was written again');
    }
  }

  private putAside(file: string, reason: string): void {
    const aside = this.world.definitions.quarantine(file, reason);
    this.aside.push(aside);
    this.world.events.publish({
      event: 'pool.quarantined',
      file: aside.path,
      reason: aside.reason,
      name: aside.name ?? null,
      uuid: aside.uuid ?? null,
    });
  }

  /** @throws VirtError pool.quarantined when the text names a pool whose definition was put aside */
  refuseQuarantined(text: string): void {
    const found = this.aside.find(({ uuid, name }) => uuid === text.toLowerCase() || name === text);
    if (found === undefined) return;
    throw new VirtError('pool.quarantined', {
      wanted: `use pool '${found.name ?? text}'`,
      reason: `its definition cannot be used: ${found.reason}`,
      hint: `it lies in ${found.path}; define the pool anew, or mend that file and put it back`,
      details: { file: found.path },
    });
  }
}

function poolOf(stored: StoredDefinition & { readonly isEdited: boolean }): Pool {
  const pool = new Pool(stored.uuid, stored.name);
  pool.xml = stored.xml;
  pool.autostart = stored.autostart;
  pool.extra = stored.extra;
  pool.facts = readFacts(stored.facts);
  if (!stored.isEdited && pool.facts !== undefined) return pool;
  const definition = parseTrusted(stored.xml);
  if (definition.uuid !== stored.uuid) throw new Error('the definition has another UUID than the file');
  if (definition.name !== stored.name)
    throw new Error(`the definition is named '${definition.name}', the header '${stored.name}'`);
  pool.facts = factsOf(definition);
  return pool;
}

function readFacts(raw: Readonly<Record<string, unknown>> | undefined): PoolFacts | undefined {
  const { type, path, source } = raw ?? {};
  const known = poolTypes.find((one) => one === type);
  if (known === undefined) return undefined;
  return {
    type: known,
    ...(typeof path === 'string' && { path }),
    ...(typeof source === 'string' && { source }),
  };
}
