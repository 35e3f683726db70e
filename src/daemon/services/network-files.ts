/** Stored networks on their way into the registry at start-up. Broken ones are put aside and named. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { QuarantinedFile, StoredDefinition } from '../state/definitions.ts';
import { Network, type NetworkFacts } from './network.ts';
import { factsOf, type NetworkWorld, parseTrusted, runNetworkJob } from './network-world.ts';

export class NetworkFiles {
  private readonly world: NetworkWorld;
  private aside: QuarantinedFile[] = [];

  constructor(world: NetworkWorld) {
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
        this.world.registry.add(networkOf(stored));
      } catch (error) {
        this.putAside(`${stored.uuid}.xml`, reasonOf(error));
      }
    }
  }

  /**
   * Looks at the files again: new and changed ones are taken over, and count from the next start of their network. A
   * broken one is put aside; the network goes on with the definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    this.aside = this.world.definitions.quarantined();
    for (const file of this.world.definitions.files()) {
      const network = this.world.registry.withUuid(file.slice(0, -'.xml'.length));
      try {
        if (network?.isPersistent)
          await runNetworkJob(this.world, network, 'reload', () => this.readAgain(network, file));
        else if (network === undefined) this.addNew(file);
      } catch (error) {
        this.world.log.error({ err: error, file }, 'a network could not be read again');
      }
    }
  }

  private addNew(file: string): void {
    try {
      const network = networkOf(this.world.definitions.read(file));
      if (this.world.registry.withName(network.name))
        throw new Error(`another network is named '${network.name}'`);
      this.world.registry.add(network);
      this.world.events.publish({ event: 'network.defined', network: network.identity, isNew: true });
    } catch (error) {
      this.putAside(file, reasonOf(error));
    }
  }

  private async readAgain(network: Network, file: string): Promise<void> {
    const { uuid, name, autostart, xml = '', facts, extra } = network;
    try {
      const stored = this.world.definitions.read(file);
      if (stored.xml === xml && stored.autostart === autostart && stored.name === name) return;
      const fresh = networkOf(stored);
      if (fresh.name !== name) throw new Error(`the network is named '${name}', the file '${fresh.name}'`);
      network.xml = fresh.xml;
      network.facts = fresh.facts;
      network.autostart = fresh.autostart;
      network.extra = fresh.extra;
      this.world.events.publish({ event: 'network.defined', network: network.identity, isNew: false });
    } catch (error) {
      this.putAside(file, reasonOf(error));
      await this.world.definitions.save({
        ...{ uuid, name, autostart, xml },
        ...(facts && { facts: { ...facts } }),
        ...(extra && { extra }),
      });
      this.world.log.warn({ network: name }, 'the definition in use was written again');
    }
  }

  private putAside(file: string, reason: string): void {
    const aside = this.world.definitions.quarantine(file, reason);
    this.aside.push(aside);
    this.world.events.publish({
      event: 'network.quarantined',
      file: aside.path,
      reason: aside.reason,
      name: aside.name ?? null,
      uuid: aside.uuid ?? null,
    });
  }

  /** @throws VirtError network.quarantined when the text names a network whose definition was put aside */
  refuseQuarantined(text: string): void {
    const found = this.aside.find(({ uuid, name }) => uuid === text.toLowerCase() || name === text);
    if (found === undefined) return;
    throw new VirtError('network.quarantined', {
      wanted: `use network '${found.name ?? text}'`,
      reason: `its definition cannot be used: ${found.reason}`,
      hint: `it lies in ${found.path}; define the network anew, or mend that file and put it back`,
      details: { file: found.path },
    });
  }
}

function networkOf(stored: StoredDefinition & { readonly isEdited: boolean }): Network {
  const network = new Network(stored.uuid, stored.name);
  network.xml = stored.xml;
  network.autostart = stored.autostart;
  network.extra = stored.extra;
  network.facts = readFacts(stored.facts);
  if (!stored.isEdited && network.facts !== undefined) return network;
  const definition = parseTrusted(stored.xml);
  if (definition.uuid !== stored.uuid) throw new Error('the definition has another UUID than the file');
  if (definition.name !== stored.name)
    throw new Error(`the definition is named '${definition.name}', the header '${stored.name}'`);
  network.facts = factsOf(definition);
  return network;
}

function readFacts(raw: Readonly<Record<string, unknown>> | undefined): NetworkFacts | undefined {
  const { mode, bridge, subnets, title } = raw ?? {};
  if (typeof mode !== 'string' || !Array.isArray(subnets)) return undefined;
  return {
    ...(typeof title === 'string' && { title }),
    mode,
    ...(typeof bridge === 'string' && { bridge }),
    subnets: subnets.filter((subnet) => typeof subnet === 'string'),
  };
}
