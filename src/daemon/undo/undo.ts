/**
 * Deletions that can be taken back for some days: definitions of domains, networks and pools with what belongs to them, and the
 * volumes in the trash of pools. Our own API keeps them; libvirt's protocol deletes as libvirt does.
 */
import { join } from 'node:path';
import { reasonOf, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import type { Domain } from '../services/domain.ts';
import type { UndefineOptions } from '../services/domain-definitions.ts';
import type { DomainService } from '../services/domain-service.ts';
import type { Network } from '../services/network.ts';
import type { NetworkService } from '../services/network-service.ts';
import type { Pool } from '../services/pool.ts';
import type { StorageService } from '../services/storage-service.ts';
import type { Deleted, UndoEntry, UndoStore } from './undo-store.ts';

const DAY_MS = 24 * 3600 * 1000;
/** How often it is looked for what is too old. */
const LOOK_MS = 3600 * 1000;

/** Something that can be brought back. */
export interface Undoable {
  readonly id: string;
  readonly type: 'domain' | 'network' | 'pool' | 'volume';
  readonly name: string;
  /** Of definitions. */
  readonly uuid: string | undefined;
  /** Of volumes. */
  readonly pool: string | undefined;
  readonly deletedAtMs: number;
  readonly untilMs: number;
}

/** Which of them; what is left out means any. */
export interface UndoFilter {
  readonly type?: Undoable['type'] | undefined;
}

export interface UndoParts {
  readonly store: UndoStore;
  readonly domains: DomainService;
  /** Undefined in a session. */
  readonly networks: NetworkService | undefined;
  readonly storage: StorageService;
  /** Where states of TPMs and snapshots are, by uuid. */
  readonly directories: { readonly tpm: string; readonly snapshots: string; readonly saves: string };
  /** 0: nothing is kept. */
  readonly days: number;
  readonly log: Logger;
}

export class Undo {
  private readonly parts: UndoParts;
  private timer: NodeJS.Timeout | undefined;

  constructor(parts: UndoParts) {
    this.parts = parts;
  }

  /** Forgets a domain's definition as `DomainDefinitions.undefine` does, and keeps what it takes to bring it back. */
  async undefineDomain(domain: Domain, options: UndefineOptions): Promise<Undoable | undefined> {
    const { domains } = this.parts;
    let entry: UndoEntry | undefined;
    const keep = async (): Promise<void> => {
      const { uuid, name, autostart, xml = '' } = domain;
      const files = await this.filesOf(domain, options);
      entry = await this.put({ type: 'domain', uuid, name, autostart, xml, files });
    };
    await this.orForget(
      () => entry,
      () => domains.definitions.undefine(domain, { ...options, before: keep }),
    );
    return entry && this.shown(entry);
  }

  /** The same for a network. */
  async undefineNetwork(service: NetworkService, network: Network): Promise<Undoable | undefined> {
    return this.undefine('network', network, () => service.definitions.undefine(network));
  }

  /** The same for a pool. */
  async undefinePool(pool: Pool): Promise<Undoable | undefined> {
    return this.undefine('pool', pool, () => this.parts.storage.definitions.undefine(pool));
  }

  /** All that can be brought back, the last deletion first. Trashes that cannot be read are left out, and logged. */
  async list({ type }: UndoFilter = {}): Promise<Undoable[]> {
    const { store, log } = this.parts;
    const definitions = type === 'volume' ? [] : (await store.list()).map((entry) => this.shown(entry));
    const volumes =
      type !== undefined && type !== 'volume'
        ? []
        : await this.volumes().catch((error: unknown) => {
            log.warn({ reason: reasonOf(error) }, 'the trash could not be read');
            return [];
          });
    return [...definitions, ...volumes]
      .filter((one) => type === undefined || one.type === type)
      .sort((a, b) => b.deletedAtMs - a.deletedAtMs);
  }

  /**
   * Brings back what was deleted last, or the entry of that id, or the last of that name.
   * @throws VirtError operation.failed when there is nothing, domain.exists and the like where its place is taken
   */
  async restore(ref: string | undefined, filter: UndoFilter = {}): Promise<Undoable> {
    const entry = await this.find(ref, filter);
    const { storage } = this.parts;
    switch (entry.type) {
      case 'volume':
        await storage.trash.restore(storage.find(entry.pool ?? ''), entry.id);
        return entry;
      case 'domain':
        await this.restoreDomain(entry);
        break;
      case 'network':
        await this.restoreNetwork(entry);
        break;
      case 'pool':
        await this.restorePool(entry);
        break;
    }
    await this.parts.store.remove(entry.id);
    return entry;
  }

  /** Takes the record of a deleted definition away for good, or all records. Volumes have a trash of their own. */
  async forget(ref: string | undefined): Promise<Undoable[]> {
    const { store } = this.parts;
    const all = (await store.list()).map((entry) => this.shown(entry)).toReversed();
    const gone = ref === undefined ? all : [requireOne(all, ref, 'forget a deletion')];
    for (const { id } of gone) await store.remove(id);
    return gone;
  }

  /** Takes away what is too old, now and every hour. */
  start(): void {
    const look = (): void => {
      this.purge().catch((error: unknown) =>
        this.parts.log.warn({ reason: reasonOf(error) }, 'old records of undo could not be removed'),
      );
    };
    this.timer = setInterval(look, LOOK_MS).unref();
    look();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** @internal for tests: what `start` does each hour. */
  async purge(nowMs = Date.now()): Promise<void> {
    const { store } = this.parts;
    for (const entry of await store.list())
      if (this.shown(entry).untilMs <= nowMs) await store.remove(entry.id);
  }

  private async undefine(
    type: 'network' | 'pool',
    { uuid, name, autostart, xml }: Network | Pool,
    work: () => Promise<void>,
  ): Promise<Undoable | undefined> {
    // Without a stored definition the deletion is refused, with the words of its service.
    const entry =
      xml === undefined ? undefined : await this.put({ type, uuid, name, autostart, xml, files: [] });
    await this.orForget(() => entry, work);
    return entry && this.shown(entry);
  }

  /** A deletion that did not come about needs no record. */
  private async orForget(entry: () => UndoEntry | undefined, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const made = entry();
      if (made !== undefined) await this.parts.store.remove(made.id).catch(() => undefined); // the first error is told
      throw error;
    }
  }

  /** A record that cannot be kept (a full disk) must not keep anybody from deleting. */
  private async put(deleted: Deleted): Promise<UndoEntry | undefined> {
    const { store, days, log } = this.parts;
    if (days === 0) return undefined;
    try {
      return await store.put(deleted);
    } catch (error) {
      log.warn({ [deleted.type]: deleted.name, reason: reasonOf(error) }, 'this deletion cannot be undone');
      return undefined;
    }
  }

  /** What the deletion takes away. */
  private async filesOf(domain: Domain, options: UndefineOptions): Promise<Deleted['files']> {
    const { domains, directories } = this.parts;
    const nvram =
      options.nvram === 'remove' ? await domains.definitions.firmwareVariables(domain) : undefined;
    const wanted = [
      { kind: 'nvram', path: nvram },
      { kind: 'saved-state', path: join(directories.saves, `${domain.uuid}.save`) },
      { kind: 'tpm', path: join(directories.tpm, domain.uuid) },
      { kind: 'snapshots', path: join(directories.snapshots, domain.uuid) },
    ];
    const there: { kind: string; path: string }[] = [];
    for (const { kind, path } of wanted)
      if (path !== undefined && (await statIfPresent(path)) !== undefined) there.push({ kind, path });
    return there;
  }

  private async restoreDomain({ id, name, uuid = '' }: Undoable): Promise<void> {
    const { store, domains } = this.parts;
    domains.refuseTaken(uuid, name);
    const xml = await store.definition(id);
    const { autostart } = await this.entry(id);
    await store.restoreFiles(id);
    const { domain } = await domains.definitions.define(xml, { mode: 'lenient' });
    domains.noteFiles(domain);
    if (autostart) await domains.definitions.setAutostart(domain, true);
  }

  private async restoreNetwork({ id, name }: Undoable): Promise<void> {
    const { networks, store } = this.parts;
    if (networks === undefined) throw nothing(`bring network '${name}' back`, 'a session has no networks');
    const { network } = await networks.definitions.define(await store.definition(id), 'lenient');
    if ((await this.entry(id)).autostart) await networks.definitions.setAutostart(network, true);
  }

  private async restorePool({ id }: Undoable): Promise<void> {
    const { storage, store } = this.parts;
    const { pool } = await storage.definitions.define(await store.definition(id), 'lenient');
    if ((await this.entry(id)).autostart) await storage.definitions.setAutostart(pool, true);
  }

  private async entry(id: string): Promise<UndoEntry> {
    const found = (await this.parts.store.list()).find((one) => one.id === id);
    if (found === undefined) throw nothing('undo a deletion', `the record ${id} is gone`);
    return found;
  }

  private async find(ref: string | undefined, filter: UndoFilter): Promise<Undoable> {
    const all = await this.list(filter);
    if (ref !== undefined) return requireOne(all, ref, 'undo a deletion');
    const [last] = all;
    if (last === undefined)
      throw nothing('undo a deletion', 'nothing was deleted that could be brought back');
    return last;
  }

  private async volumes(): Promise<Undoable[]> {
    const { storage } = this.parts;
    const found = await storage.trash.list(storage.list({ active: true }));
    return found.map(({ id, name, pool, deletedAtMs, untilMs }) => ({
      ...{ id, type: 'volume' as const, name, pool, deletedAtMs, untilMs },
      uuid: undefined,
    }));
  }

  private shown({ id, type, name, uuid, deletedAtMs }: UndoEntry): Undoable {
    const untilMs = deletedAtMs + this.parts.days * DAY_MS;
    return { id, type, name, uuid, pool: undefined, deletedAtMs, untilMs };
  }
}

/** By id, uuid or name; of several the first, which was deleted last. */
function requireOne(all: readonly Undoable[], ref: string, wanted: string): Undoable {
  const found =
    all.find(({ id, uuid }) => id === ref || uuid === ref) ?? all.find(({ name }) => name === ref);
  if (found === undefined) throw nothing(wanted, `no deletion of '${ref}' is known`);
  return found;
}

function nothing(wanted: string, reason: string): VirtError {
  return new VirtError('operation.failed', {
    wanted,
    reason,
    hint: "'vireo undo list' shows what can be brought back",
  });
}
