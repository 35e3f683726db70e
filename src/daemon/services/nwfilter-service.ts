/** Network filters as objects: the built-in ones, those that somebody defined, and where each is in force. */
import { createHash, randomUUID } from 'node:crypto';
import { reasonOf, VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { Logger } from '../../base/log.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import type { FilterBinding } from '../../model/nwfilter/binding.ts';
import { builtInFilter, builtInFilterNames } from '../../model/nwfilter/built-in.ts';
import { formatFilter, parseFilter } from '../../model/nwfilter/document.ts';
import type { FilterLookup, NwFilter } from '../../model/nwfilter/filter.ts';
import { cycleThrough, filtersBehind } from '../../model/nwfilter/references.ts';
import type { DefinitionStore, QuarantinedFile, StoredDefinition } from '../state/definitions.ts';
import { type ReplaceOptions, replacesByName } from './by-name.ts';
import type { EventBus } from './events.ts';
import type { GuestFilters } from './guest-filters.ts';

/** How many filters there may be (libvirt's protocol: REMOTE_NWFILTER_LIST_MAX). */
const MAX_FILTERS = 16_384;

type StoredFilter = NwFilter & { readonly uuid: string };

/** A filter that can be asked for. */
export interface FilterObject {
  readonly uuid: string;
  readonly name: string;
  /** It came with Vireo, and nobody has defined another of that name. */
  readonly isBuiltIn: boolean;
  readonly filter: NwFilter;
}

export interface NwFilterServiceOptions {
  readonly definitions: DefinitionStore;
  readonly guests: Pick<GuestFilters, 'cards' | 'rehearse' | 'putInPlace' | 'renewThose'>;
  readonly events: EventBus;
  readonly log: Logger;
  /** How long a change waits for those before it, in milliseconds. */
  readonly jobWaitMs: number;
}

export class NwFilterService {
  private readonly options: NwFilterServiceOptions;
  /** What somebody defined, by name; one with the name of a built-in filter takes its place. */
  private readonly defined = new Map<string, StoredFilter>();
  private readonly changes = new JobQueue('the list of network filters', 'nwfilter.busy');
  private aside: QuarantinedFile[] = [];

  constructor(options: NwFilterServiceOptions) {
    this.options = options;
  }

  /** Reads the stored filters; what cannot be read is put aside and named in the log. */
  open(): void {
    const { definitions } = this.options;
    const earlier = definitions.quarantined();
    const loaded = definitions.loadAll();
    this.aside = [...earlier, ...loaded.quarantined];
    for (const { uuid, xml } of loaded.definitions) {
      try {
        const filter = storedFilter(uuid, xml);
        this.defined.set(filter.name, filter);
      } catch (error) {
        this.aside.push(definitions.quarantine(`${uuid}.xml`, reasonOf(error)));
      }
    }
  }

  /**
   * Looks at the files again, when an administrator has changed some: new and changed ones are taken over, by running guests
   * too. One that is broken, or that a running guest could not have, is put aside; a filter that is known goes on with the
   * definition it had, which is written anew.
   */
  async rescan(): Promise<void> {
    const { definitions, log } = this.options;
    await this.change('reload', async () => {
      this.aside = definitions.quarantined();
      for (const file of definitions.files()) {
        const known = [...this.defined.values()].find(({ uuid }) => `${uuid}.xml` === file);
        try {
          await this.readAgain(file, known);
        } catch (error) {
          this.aside.push(definitions.quarantine(file, reasonOf(error)));
          if (known === undefined) continue;
          await definitions.save(storedForm(known));
          log.warn({ filter: known.name }, 'the definition in use was written again');
        }
      }
    });
  }

  private async readAgain(file: string, known: StoredFilter | undefined): Promise<void> {
    const { uuid, xml } = this.options.definitions.read(file);
    if (known !== undefined && xml === formatFilter(known)) return;
    const filter = storedFilter(uuid, xml);
    this.refuseTaken(filter, this.named(filter.name));
    this.refuseCycle(filter);
    await this.replace(filter.name, filter, () => Promise.resolve());
    const isNew = known === undefined;
    this.options.events.publish({ event: 'nwfilter.defined', filter: { uuid, name: filter.name }, isNew });
  }

  /** Definitions that could not be read and were put aside. */
  get quarantined(): readonly QuarantinedFile[] {
    return this.aside;
  }

  /** The filter of that name, for whoever compiles rules. */
  readonly lookup: FilterLookup = (name) => this.defined.get(name) ?? builtInFilter(name);

  /** All filters, by name. */
  list(): FilterObject[] {
    const names = new Set([...builtInFilterNames, ...this.defined.keys()]);
    return [...names].toSorted().flatMap((name) => this.named(name) ?? []);
  }

  /** Finds by uuid or name, the uuid first. @throws VirtError nwfilter.not-found */
  find(text: string): FilterObject {
    const found = this.list().find(({ uuid }) => uuid === text.toLowerCase()) ?? this.named(text);
    if (found !== undefined) return found;
    throw new VirtError('nwfilter.not-found', {
      reason: `no network filter with matching name or uuid '${text}'`,
      hint: "'vireo filter list' shows all filters",
    });
  }

  private named(name: string): FilterObject | undefined {
    const defined = this.defined.get(name);
    if (defined !== undefined) return { uuid: defined.uuid, name, isBuiltIn: false, filter: defined };
    const builtIn = builtInFilter(name);
    return builtIn && { uuid: uuidOfBuiltIn(name), name, isBuiltIn: true, filter: builtIn };
  }

  /** The filter as libvirt's nwfilter XML. */
  xml({ filter, uuid }: FilterObject): string {
    return formatFilter({ ...filter, uuid });
  }

  /**
   * Stores a filter, new or in place of the one with its uuid and name; taps of running guests that it reaches get the
   * new rules in one transaction before this settles. What it refers to may be defined later.
   * @throws VirtError xml.*, nwfilter.exists, nwfilter.busy, definition.unsupported when a running guest could not have
   *   it (nothing has changed then), program.*, file.*
   */
  async define(
    xml: string,
    mode: ParseMode,
    options: ReplaceOptions = {},
  ): Promise<{ readonly filter: FilterObject; readonly dropped: readonly string[] }> {
    const { filter, dropped } = parseFilter(xml, { mode });
    return this.change('define', async () => {
      const known = this.named(filter.name);
      const uuid = filter.uuid ?? (replacesByName(mode, options) ? known?.uuid : undefined) ?? randomUUID();
      const complete = { ...filter, uuid };
      this.refuseTaken(complete, known);
      this.refuseCycle(complete);
      await this.replace(filter.name, complete, () => this.options.definitions.save(storedForm(complete)));
      const isNew = known === undefined;
      this.options.events.publish({ event: 'nwfilter.defined', filter: { uuid, name: filter.name }, isNew });
      return { filter: this.find(filter.name), dropped };
    });
  }

  /** Sees whether a document could be defined, but for its effect on running guests; nothing is stored. @throws as `define` */
  rehearse(xml: string, mode: ParseMode): void {
    const { filter } = parseFilter(xml, { mode });
    const complete = { ...filter, uuid: filter.uuid ?? randomUUID() };
    this.refuseTaken(complete, this.named(filter.name));
    this.refuseCycle(complete);
  }

  private refuseTaken({ uuid, name }: { uuid: string; name: string }, known: FilterObject | undefined): void {
    const wanted = `define network filter '${name}'`;
    const withUuid = this.list().find((one) => one.uuid === uuid);
    if (withUuid !== undefined && withUuid.name !== name)
      throw new VirtError('nwfilter.exists', {
        wanted,
        reason: `filter '${withUuid.name}' has the uuid ${uuid}`,
        hint: 'leave the uuid out, or use another one',
      });
    if (known !== undefined && known.uuid !== uuid)
      throw new VirtError('nwfilter.exists', {
        wanted,
        reason: `filter '${name}' already exists with uuid ${known.uuid}`,
        hint: 'give that uuid to change it',
      });
    if (known === undefined && this.defined.size >= MAX_FILTERS)
      throw new VirtError('request.too-large', {
        wanted,
        reason: `there are ${MAX_FILTERS} filters already`,
      });
  }

  private refuseCycle(filter: NwFilter): void {
    const cycle = cycleThrough(filter.name, this.lookupWith(filter.name, filter));
    if (cycle === undefined) return;
    throw new VirtError('xml.invalid', {
      wanted: `define network filter '${filter.name}'`,
      reason: `it would refer to itself: ${cycle.join(' → ')}`,
    });
  }

  /**
   * Forgets a filter. One that takes the place of a built-in filter gives that back, to running guests as well.
   * @throws VirtError nwfilter.not-found, nwfilter.built-in, nwfilter.in-use with the names of the guests, nwfilter.busy
   */
  async undefine(text: string): Promise<{ readonly uuid: string; readonly name: string }> {
    return this.change('undefine', async () => {
      const { uuid, name, isBuiltIn } = this.find(text);
      const wanted = `undefine network filter '${name}'`;
      if (isBuiltIn)
        throw new VirtError('nwfilter.built-in', {
          wanted,
          reason: 'it comes with Vireo, and definitions made for libvirt rely on it',
          hint: 'define another of that name to change what it does',
        });
      if (builtInFilter(name) === undefined) this.refuseUsed(name, wanted);
      await this.replace(name, undefined, () => this.options.definitions.remove(uuid));
      this.options.events.publish({ event: 'nwfilter.undefined', filter: { uuid, name } });
      return { uuid, name };
    });
  }

  private refuseUsed(name: string, wanted: string): void {
    const users = this.users(name, this.lookup).map(({ domain }) => `'${domain.name}'`);
    if (users.length === 0) return;
    throw new VirtError('nwfilter.in-use', {
      wanted,
      reason: `it is in force for ${[...new Set(users)].join(', ')}`,
      hint: 'stop them first, or give them another filter',
    });
  }

  /** Running cards whose filter is that one or leads to it. */
  private users(name: string, lookup: FilterLookup) {
    return this.options.guests
      .cards()
      .filter(({ nic }) => nic.filterref && filtersBehind(nic.filterref.filter, lookup).has(name));
  }

  /** Which filter is on which tap. */
  bindings(): FilterBinding[] {
    return this.options.guests.cards().flatMap(({ domain, nic, device }): FilterBinding[] => {
      const { filterref, mac } = nic;
      if (filterref === undefined || mac === undefined) return [];
      const { filter, parameters } = filterref;
      const given = parameters.filter((one) => one.name !== 'MAC');
      return [
        {
          ...{ owner: domain, device, mac: mac.address, filter },
          parameters: [{ name: 'MAC', value: mac.address }, ...given],
        },
      ];
    });
  }

  /** Rules first, since they may be refused; guests that start meanwhile get theirs at the end. */
  private async replace(
    name: string,
    filter: StoredFilter | undefined,
    store: () => Promise<void>,
  ): Promise<void> {
    const { guests } = this.options;
    const next = this.lookupWith(name, filter);
    const users = this.users(name, next);
    await guests.putInPlace(await guests.rehearse(users, next));
    try {
      await store();
    } catch (error) {
      await guests.renewThose(users);
      throw error;
    }
    if (filter === undefined) this.defined.delete(name);
    else this.defined.set(name, filter);
    await guests.renewThose(this.users(name, this.lookup));
  }

  private lookupWith(name: string, filter: NwFilter | undefined): FilterLookup {
    return (wanted) => (wanted === name ? (filter ?? builtInFilter(name)) : this.lookup(wanted));
  }

  private change<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.changes.run(name, work, { waitMs: this.options.jobWaitMs });
  }
}

/** @throws Error, VirtError with what is wrong with a stored filter */
function storedFilter(uuid: string, xml: string): StoredFilter {
  const { filter } = parseFilter(xml, { mode: 'strict' });
  if (filter.uuid !== uuid) throw new Error('the definition has another UUID than the file');
  return { ...filter, uuid };
}

/** As its file has it. */
function storedForm(filter: StoredFilter): StoredDefinition {
  return { uuid: filter.uuid, name: filter.name, autostart: false, xml: formatFilter(filter) };
}

/** The same on every host and for ever: a name-based uuid (RFC 9562 version 5) below one of our own. */
function uuidOfBuiltIn(name: string): string {
  const space = Buffer.from('5d3c4a1be1f54f0c9b0a6f0f3c1d7e42', 'hex');
  const bytes = createHash('sha1').update(space).update(name).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
