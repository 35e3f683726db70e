/** Clones of domains, full or linked, and the templates that linked ones are made of. */
import { randomUUID } from 'node:crypto';
import { constants, copyFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent } from '../../base/files.ts';
import { type ClonedDisk, clonedDefinition, ownDisks } from '../../model/domain/cloned.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { isTemplate, markedAsTemplate, templateNamespace } from '../../model/domain/template.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { type FirmwareCopies, hasEmulatedTpm } from './snapshot-firmware.ts';
import type { StorageService } from './storage-service.ts';
import { userText } from './volume-users.ts';
import type { FoundVolume } from './volumes.ts';
import { type DomainWorld, runJob } from './world.ts';

export interface CloneRequest {
  readonly name: string;
  /** Only what differs from the template is stored. */
  readonly linked: boolean;
  /** What its emulated TPM begins with: nothing, or a copy of the source's, with its keys. */
  readonly tpm?: 'new' | 'copy' | undefined;
  /** Where the disks go; left out: to the pools of the source's. */
  readonly pool?: string | undefined;
}

/** A disk that was made. */
export interface MadeDisk {
  readonly target: string;
  readonly pool: string;
  readonly volume: string;
  readonly path: string;
}

/** A template with what was made of it. */
export interface TemplateFacts {
  readonly domain: Domain;
  readonly disks: readonly string[];
  /** Domains whose disks lie on its disks. */
  readonly instances: readonly string[];
}

/** What is made, and how to take it away again. */
interface Making {
  readonly disks: ClonedDisk[];
  readonly made: MadeDisk[];
  readonly undo: (() => Promise<unknown>)[];
  readonly warnings: string[];
}

export class DomainClones {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly storage: () => StorageService;
  private readonly firmware: Pick<FirmwareCopies, 'copyTpm'>;

  constructor(
    world: DomainWorld,
    parts: {
      readonly definitions: DomainDefinitions;
      readonly storage: () => StorageService;
      readonly firmware: Pick<FirmwareCopies, 'copyTpm'>;
    },
  ) {
    this.world = world;
    this.definitions = parts.definitions;
    this.storage = parts.storage;
    this.firmware = parts.firmware;
  }

  /**
   * Makes a domain like another one that is shut off, with copies of its disks, or with images on top of a template's. When
   * anything fails, nothing is left.
   * @throws VirtError domain.active, domain.transient, domain.exists, domain.state for a linked clone of what is no template,
   * definition.unsupported for a disk that is no volume, volume.*, pool.*, file.*
   */
  async clone(
    source: Domain,
    request: CloneRequest,
  ): Promise<{ domain: Domain; disks: MadeDisk[]; warnings: string[] }> {
    const wanted = `clone domain '${source.name}'`;
    return runJob(this.world, source, 'clone', async () => {
      const definition = this.cloneable(source, wanted);
      if (request.linked && !isTemplate(definition))
        throw new VirtError('domain.state', {
          wanted,
          reason: 'only templates have linked clones: a guest that runs on would change what lies below them',
          hint: `make it one with 'vireo template create ${source.name}', or clone it in full`,
        });
      if (request.tpm === 'copy' && !hasEmulatedTpm(definition))
        throw new VirtError('request.invalid', {
          wanted,
          reason: 'it has no emulated TPM whose state could be copied',
        });
      if (this.world.registry.withName(request.name))
        throw new VirtError('domain.exists', { wanted, reason: `domain '${request.name}' exists already` });
      const making: Making = { disks: [], made: [], undo: [], warnings: [] };
      try {
        for (const disk of ownDisks(definition)) await this.makeDisk(disk, { wanted, request }, making);
        const domain = await this.store(definition, request, making);
        return { domain, disks: making.made, warnings: making.warnings };
      } catch (error) {
        await this.takeBack(making);
        throw error;
      }
    });
  }

  /** Makes a domain a template, which does not start, or a domain like others again. @throws VirtError domain.*, volume.in-use */
  async setTemplate(domain: Domain, template: boolean): Promise<void> {
    const wanted = template ? `make domain '${domain.name}' a template` : `release template '${domain.name}'`;
    await runJob(this.world, domain, template ? 'make template' : 'release template', async () => {
      const definition = this.cloneable(domain, wanted);
      if (isTemplate(definition) === template) return;
      if (template) this.world.managedSaves.refuse(domain, 'make a template of');
      else await this.refuseInstances(domain, wanted);
      await this.definitions.replaceStored(domain, markedAsTemplate(definition, template));
    });
    this.world.events.emit('domain.metadata-changed', domain.identity, {
      what: 'metadata',
      uri: templateNamespace,
    });
  }

  /** All templates, by name. */
  async list(): Promise<TemplateFacts[]> {
    const found: TemplateFacts[] = [];
    for (const domain of this.world.registry.byName) {
      // Most are none, and parsing all of them would take long.
      if (domain.xml?.includes(templateNamespace) !== true) continue;
      const definition = this.definitions.definition(domain, { inactive: true });
      if (!isTemplate(definition)) continue;
      const disks = ownDisks(definition);
      const users = await this.usersOf(domain, disks);
      found.push({
        domain,
        disks: disks.flatMap((disk) => this.volumeOf(disk)?.volume.path ?? []),
        instances: users.filter(({ type }) => type === 'domain').map(({ name }) => name),
      });
    }
    return found;
  }

  /** @throws VirtError domain.transient, domain.active */
  private cloneable(domain: Domain, wanted: string): DomainDef {
    if (domain.isActive)
      throw new VirtError('domain.active', {
        wanted,
        reason: 'the domain runs, and its disks change',
        hint: `shut it down first: 'vireo shutdown ${domain.name}'`,
      });
    return this.definitions.definition(domain, { inactive: true });
  }

  private async store(source: DomainDef, request: CloneRequest, making: Making): Promise<Domain> {
    const { name } = request;
    const tpm = request.tpm ?? 'new';
    const wish = { name, uuid: randomUUID(), genid: randomUUID(), disks: making.disks, tpm };
    const { definition, warnings } = clonedDefinition(source, wish);
    making.warnings.push(...warnings);
    const complete = await this.definitions.prepare(definition, { mode: 'strict' });
    await this.copyVariables(source, complete, making);
    if (request.tpm === 'copy') await this.copyTpm(source, complete, making);
    return (await this.definitions.store(complete, { mode: 'strict' })).domain;
  }

  /** Boot entries and keys of the firmware, as they are in the source. */
  private async copyVariables(source: DomainDef, clone: DomainDef, making: Making): Promise<void> {
    const [from, to] = [source, clone].map(({ os: { nvram } }) =>
      nvram?.source?.type === 'file' ? nvram.source.file : nvram?.path,
    );
    if (from === undefined || to === undefined || (await statIfPresent(from)) === undefined) return;
    try {
      await ensureDirectory(dirname(to), 0o700);
      await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    } catch (error) {
      throw fileError(error, `copy the firmware variables of '${source.name}'`, to);
    }
    making.undo.push(() => rm(to, { force: true }));
  }

  /** Its keys: both are the same to whoever trusts the TPM. */
  private async copyTpm(source: DomainDef, clone: DomainDef, making: Making): Promise<void> {
    making.undo.push(() => this.world.tpmStates.forget(clone, 'remove'));
    await this.firmware.copyTpm(source, clone);
  }

  private async makeDisk(
    disk: Disk,
    { wanted, request }: { readonly wanted: string; readonly request: CloneRequest },
    making: Making,
  ): Promise<void> {
    const found = this.volumeOf(disk);
    const target = disk.target.dev;
    if (found === undefined)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `disk ${target} is no volume of an active pool`,
        hint: "define a pool for its directory ('vireo pool create NAME DIRECTORY'), then clone again",
      });
    const storage = this.storage();
    const pool = request.pool === undefined ? found.pool : storage.find(request.pool);
    const { volume, warnings } = await (request.linked
      ? this.linkedVolume(found, { pool, target, request, wanted })
      : storage.volumeCreation.clone(found, pool, {
          name: this.freeName(pool, request.name, { target, like: found.volume.name }),
          target: {},
        }));
    making.undo.push(() => storage.volumeChanges.delete({ pool, volume }));
    making.warnings.push(...warnings);
    making.made.push({ target, pool: pool.name, volume: volume.name, path: volume.path });
    making.disks.push({
      target,
      source: sourceOf(disk, { pool, volume }),
      format: plainFormat(volume.format),
    });
  }

  private linkedVolume(
    { volume }: FoundVolume,
    wish: {
      readonly pool: FoundVolume['pool'];
      readonly target: string;
      readonly request: CloneRequest;
      readonly wanted: string;
    },
  ) {
    const { pool, target, request, wanted } = wish;
    if (volume.encryption !== undefined)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `disk ${target} is encrypted, and what a linked clone writes would not be`,
        hint: 'clone it in full',
      });
    return this.storage().volumeCreation.create(pool, {
      name: this.freeName(pool, request.name, { target, like: 'x.qcow2' }),
      target: { format: { type: 'qcow2' } },
      backingStore: { path: volume.path, format: { type: volume.format } },
    });
  }

  /** `db.qcow2`, then `db-vdb.qcow2`: after the guest that they are of. */
  private freeName(
    pool: FoundVolume['pool'],
    name: string,
    { target, like }: { readonly target: string; readonly like: string },
  ): string {
    const suffix = /\.[A-Za-z0-9]{1,8}$/.exec(like)?.[0] ?? '';
    const taken = pool.live?.volumes;
    const names = [
      name,
      `${name}-${target}`,
      ...Array.from({ length: 100 }, (_, at) => `${name}-${target}-${at}`),
    ];
    return `${names.find((one) => taken?.has(`${one}${suffix}`) !== true) ?? name}${suffix}`;
  }

  private volumeOf({ source }: Disk): FoundVolume | undefined {
    const storage = this.storage();
    if (source.type === 'file')
      return source.file === undefined ? undefined : storage.volumes.withPath(source.file);
    if (source.type === 'block')
      return source.dev === undefined ? undefined : storage.volumes.withPath(source.dev);
    if (source.type !== 'volume' || source.pool === undefined) return undefined;
    const pool = storage.withName(source.pool);
    const volume = pool?.live?.volumes.get(source.volume ?? '');
    return pool && volume && { pool, volume };
  }

  /** Others that lie on these disks. */
  private async usersOf(domain: Domain, disks: readonly Disk[]) {
    const storage = this.storage();
    const all = await Promise.all(
      disks.flatMap((disk) => {
        const found = this.volumeOf(disk);
        return found === undefined ? [] : [storage.volumes.users(found)];
      }),
    );
    const names = new Set<string>();
    return all.flat().filter((user) => {
      const key = `${user.type} ${user.pool ?? ''}/${user.name}`;
      const isOther = user.needsBytes && !(user.type === 'domain' && user.name === domain.name);
      if (!isOther || names.has(key)) return false;
      names.add(key);
      return true;
    });
  }

  private async refuseInstances(domain: Domain, wanted: string): Promise<void> {
    const users = await this.usersOf(
      domain,
      ownDisks(this.definitions.definition(domain, { inactive: true })),
    );
    if (users.length === 0) return;
    const names = users.slice(0, 5).map((user) => userText(user));
    const more = users.length > names.length ? ` and ${users.length - names.length} more` : '';
    throw new VirtError('volume.in-use', {
      wanted,
      reason: `${names.join(', ')}${more} ${users.length === 1 ? 'lies' : 'lie'} on its disks`,
      hint: 'delete them first; a template whose disks change would destroy them',
    });
  }

  private async takeBack({ undo }: Making): Promise<void> {
    for (const one of undo.toReversed())
      await one().catch((error: unknown) =>
        this.world.log.warn({ reason: reasonOf(error) }, 'a part of a clone could not be taken away'),
      );
  }
}

/** By pool and volume where the source's is, else by path. */
function sourceOf({ source }: Disk, { pool, volume }: FoundVolume): Disk['source'] {
  if (source.type === 'volume') return { ...source, pool: pool.name, volume: volume.name };
  const plain = { slices: [], seclabels: [] };
  return volume.type === 'block'
    ? { type: 'block', dev: volume.path, ...plain }
    : { type: 'file', file: volume.path, ...plain };
}

const plainFormat = (format: FoundVolume['volume']['format']): ClonedDisk['format'] =>
  format === 'iso' || format === 'luks' ? 'raw' : (format as ClonedDisk['format']);
