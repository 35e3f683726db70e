/** Definitions: store, forget, rename and change them. Acknowledged means on disk. */
import { VirtError } from '../../base/errors.ts';
import { removeDurable, statIfPresent } from '../../base/files.ts';
import { Turns } from '../../base/turns.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import { migratableForm } from '../../model/domain/migratable.ts';
import type { StoredDefinition, WithinSave } from '../state/definitions.ts';
import { type ReplaceOptions, replacesByName } from './by-name.ts';
import { Domain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import { changeRunning } from './running-definition.ts';
import { noteFate, type TpmFate } from './tpm-states.ts';
import { type DomainWorld, factsOf, runJob, storedDefinition, storedXml } from './world.ts';

/** How a domain's XML is asked for. */
export interface XmlOptions {
  /** The stored definition of a running domain. */
  readonly inactive?: boolean;
  /** With passwords. */
  readonly secure?: boolean;
  /** In the form another host takes: of a running domain, as it runs, without what belongs to this run only. */
  readonly migratable?: boolean;
}

export interface DefineOptions extends ReplaceOptions {
  readonly mode: ParseMode;
  readonly signal?: AbortSignal;
}

type WhatReplaces = Pick<DefineOptions, 'mode' | 'byName'>;

/** What became of a definition that came in. */
export interface Defined {
  readonly domain: Domain;
  /** As it was stored: complete. */
  readonly definition: DomainDef;
  readonly isNew: boolean;
}

/** Where a change goes; what is left out means wherever there is a definition. */
export interface ChangeTargets {
  readonly live?: boolean;
  readonly stored?: boolean;
}

/** What becomes of what belongs to a domain, when its definition is forgotten. */
export interface UndefineOptions {
  readonly nvram?: 'keep' | 'remove';
  readonly tpm?: TpmFate;
  readonly managedSave?: 'remove';
  /** Its snapshots are forgotten too; what is in images stays there. */
  readonly forgetSnapshots?: boolean;
  /** Done in the same job when nothing refuses any more, and before anything goes. */
  readonly before?: () => Promise<void>;
  /** Its checkpoints too; bitmaps stay in the images. */
  readonly forgetCheckpoints?: boolean;
}

/**
 * Somebody who keeps something of domains: refuses that one is forgotten, or says what to do when it was (in the same
 * job).
 */
export type Belonging = (domain: Domain, options: UndefineOptions) => (() => Promise<void>) | undefined;

export class DomainDefinitions {
  private readonly world: DomainWorld;
  private readonly belongings: Belonging[] = [];

  constructor(world: DomainWorld) {
    this.world = world;
  }

  /**
   * Stores a definition, new or in place of the one with its uuid. A running guest is not touched.
   * @throws VirtError xml.*, definition.unsupported, domain.exists, network.session, file.*
   */
  async define(xml: string, options: DefineOptions): Promise<Defined & { dropped: readonly string[] }> {
    const turns = new Turns();
    const { definition, dropped } = parseDomain(xml, { mode: options.mode });
    await turns.share();
    return { ...(await this.store(definition, options)), dropped };
  }

  /** As define, for a definition that is parsed already. */
  async store(definition: DomainDef, options: DefineOptions): Promise<Defined> {
    const complete = await this.complete(definition, options);
    const { domain, isNew } = this.reserve(complete);
    const check = (): Promise<void> => this.world.driver.check(complete);
    await this.world.registry.claim(domain, () =>
      runJob(
        this.world,
        domain,
        'define',
        () => this.write(domain, complete, check && { meanwhile: check }),
        options,
      ),
    );
    this.world.events.emit('domain.defined', domain.identity, { isNew, fromSnapshot: false });
    return { domain, definition: complete, isNew };
  }

  /**
   * Completes and checks a definition without storing it.
   * @throws VirtError definition.unsupported, network.session, kvm.unusable, qemu.*
   */
  async prepare(definition: DomainDef, options: WhatReplaces): Promise<DomainDef> {
    const complete = await this.complete(definition, options);
    await this.world.driver.check(complete);
    return complete;
  }

  /** The complete definition, before it is checked against the emulator. */
  private async complete(definition: DomainDef, options: WhatReplaces): Promise<DomainDef> {
    const known = this.replacedBy(definition, options);
    const turns = new Turns();
    const previous = known?.xml === undefined ? undefined : this.definition(known, { inactive: true });
    await turns.share();
    const withUuid =
      known && definition.uuid === undefined ? { ...definition, uuid: known.uuid } : definition;
    return this.world.driver.complete(withUuid, previous);
  }

  /** The domain that this definition would replace. */
  replacedBy(definition: DomainDef, { mode, ...options }: WhatReplaces): Domain | undefined {
    if (definition.uuid !== undefined) return this.world.registry.withUuid(definition.uuid);
    return replacesByName(mode, options) ? this.world.registry.withName(definition.name) : undefined;
  }

  /** Takes name and uuid in the registry before the first wait, so that two clients can't both get them. */
  private reserve(definition: DomainDef): { domain: Domain; isNew: boolean } {
    const withUuid = this.requireFree(definition);
    if (withUuid) return { domain: withUuid, isNew: !withUuid.isPersistent };
    const domain = new Domain(definition.uuid as string, definition.name);
    this.world.registry.add(domain);
    return { domain, isNew: true };
  }

  /**
   * The domain with this definition's uuid, when no other one has its name.
   * @throws VirtError domain.exists
   */
  requireFree(definition: DomainDef): Domain | undefined {
    const { registry } = this.world;
    const { name } = definition;
    const uuid = definition.uuid as string; // complete() gave it one
    const wanted = `define domain '${name}'`;
    const withUuid = registry.withUuid(uuid);
    const withName = registry.withName(name);
    if (withUuid && withUuid.name !== name)
      throw new VirtError('domain.exists', {
        wanted,
        reason: `domain '${withUuid.name}' is already defined with uuid ${uuid}`,
        hint: `rename it with 'vireo domain rename ${withUuid.name} ${name}', or use another uuid`,
      });
    if (withName && withName.uuid !== uuid)
      throw new VirtError('domain.exists', {
        wanted,
        reason: `domain '${name}' already exists with uuid ${withName.uuid}`,
        hint: 'use another name, or leave the uuid out to redefine it',
      });
    return withUuid;
  }

  /** Writes the file, then changes what is served; neither when what is done within throws. */
  private async write(domain: Domain, definition: DomainDef, within?: WithinSave): Promise<void> {
    const facts = factsOf(definition);
    let xml = '';
    const compose = (): StoredDefinition => {
      xml = storedXml(definition);
      return this.stored(domain, { xml, facts: { ...facts } });
    };
    await this.world.definitions.saveComposed(domain.uuid, compose, within);
    domain.xml = xml;
    domain.facts = facts;
    domain.isEdited = false;
  }

  private stored(domain: Domain, change: Partial<StoredDefinition> = {}): StoredDefinition {
    if (domain.xml === undefined && change.xml === undefined) throw this.transient(domain, 'change');
    return {
      uuid: domain.uuid,
      name: domain.name,
      autostart: domain.autostart,
      autostartOnce: domain.autostartOnce,
      xml: domain.xml ?? '',
      ...(domain.facts && { facts: { ...domain.facts } }),
      ...(domain.extra && { extra: domain.extra }),
      ...change,
    };
  }

  private transient(domain: Domain, verb: string): VirtError {
    return new VirtError('domain.transient', {
      wanted: `${verb} domain '${domain.name}'`,
      reason: 'the domain is transient: it has no stored definition',
      hint: `store one with 'vireo domain xml ${domain.name} > FILE' and 'vireo domain define FILE'`,
    });
  }

  /** Adds somebody who is asked before a definition is forgotten. */
  addBelonging(belonging: Belonging): void {
    this.belongings.push(belonging);
  }

  /**
   * Forgets a stored definition; a running guest becomes transient and is gone when it stops. Firmware variables may
   * hold keys and boot entries, so whoever forgets a domain that has them says what becomes of them.
   * @throws VirtError domain.transient, operation.failed when that was not said, saved-state.exists, domain.state while it
   * has snapshots, domain.active when variables that are in use should be removed
   */
  async undefine(domain: Domain, options: UndefineOptions = {}): Promise<void> {
    const { managedSaves } = this.world;
    await runJob(this.world, domain, 'undefine', async () => {
      if (!domain.isPersistent) throw this.transient(domain, 'undefine');
      if (options.managedSave === undefined) managedSaves.refuse(domain, 'undefine');
      const variables = await this.firmwareVariables(domain);
      if (variables !== undefined) checkVariables(domain, variables, options.nvram);
      // Most have none, and parsing costs more than all the rest of an undefine.
      const withTpm = domain.xml?.includes('<tpm') ? this.definition(domain, { inactive: true }) : undefined;
      const forget = this.belongings.map((one) => one(domain, options));
      await options.before?.();
      await this.world.definitions.remove(domain.uuid);
      if (managedSaves.has(domain)) await managedSaves.remove(domain);
      if (variables !== undefined && options.nvram === 'remove') await removeDurable(variables);
      if (withTpm !== undefined) await this.settleTpm(domain, withTpm, options.tpm);
      domain.xml = undefined;
      domain.facts = undefined;
      domain.autostart = false;
      domain.autostartOnce = false;
      for (const one of forget) await one?.();
    });
    const identity = domain.identity;
    // Not while a definition waits in line behind us: that one makes it a domain again.
    this.world.registry.forgetIfGone(domain);
    this.world.events.emit('domain.undefined', identity, {});
  }

  /** The state of its TPM goes with a domain; with the guest, where one runs. */
  private async settleTpm(domain: Domain, stored: DomainDef, fate: TpmFate | undefined): Promise<void> {
    if (domain.live === undefined) return this.world.tpmStates.forget(stored, fate);
    if (fate === undefined) return;
    noteFate(domain.live.guest.definition, fate);
    await saveStatus(this.world, domain);
  }

  /** The file with the variables of the stored definition's firmware, when it is there. */
  async firmwareVariables(domain: Domain): Promise<string | undefined> {
    // Most have none, and parsing costs more than all the rest of an undefine.
    if (domain.xml?.includes('nvram') !== true) return undefined;
    const { nvram } = this.definition(domain, { inactive: true }).os;
    const path = nvram?.path ?? (nvram?.source?.type === 'file' ? nvram.source.file : undefined);
    return path !== undefined && (await statIfPresent(path)) !== undefined ? path : undefined;
  }

  /** The definition: as it runs for a running domain (unless `inactive`), else the stored one. */
  definition(domain: Domain, options: XmlOptions = {}): DomainDef {
    if (domain.live && !(options.inactive && domain.isPersistent)) return domain.live.guest.definition;
    if (domain.xml === undefined) throw this.transient(domain, 'show');
    return storedDefinition(domain, domain.xml);
  }

  /**
   * The definition as XML. The stored text is handed out as it is when it holds no secret. `shown` is written in place of
   * the definition: one that was made from it.
   */
  xml(domain: Domain, options: XmlOptions = {}, shown?: DomainDef): string {
    const isLive = domain.live !== undefined && !(options.inactive && domain.isPersistent);
    const secure = options.secure ?? false;
    if (options.migratable)
      return formatDomain(migratableForm(shown ?? this.definition(domain, options)), {
        secure,
        inactive: true,
      });
    if (
      shown === undefined &&
      !isLive &&
      domain.xml !== undefined &&
      !domain.isEdited &&
      (secure || !domain.xml.includes('passwd='))
    )
      return domain.xml;
    return formatDomain(shown ?? this.definition(domain, options), {
      secure,
      inactive: !isLive || (options.inactive ?? false),
      ...(isLive && domain.live && { id: domain.live.id }),
    });
  }

  /** @throws VirtError domain.transient */
  async setAutostart(domain: Domain, autostart: boolean): Promise<void> {
    await runJob(this.world, domain, 'set autostart', async () => {
      if (!domain.isPersistent) throw this.transient(domain, 'autostart');
      if (domain.autostart === autostart) return;
      await this.world.definitions.save(this.stored(domain, { autostart }));
      domain.autostart = autostart;
    });
  }

  /** Whether it starts with the host the next time, and only then. @throws VirtError domain.transient */
  async setAutostartOnce(domain: Domain, autostartOnce: boolean): Promise<void> {
    await runJob(this.world, domain, 'set autostart once', async () => {
      if (!domain.isPersistent) throw this.transient(domain, 'autostart');
      if (domain.autostartOnce === autostartOnce) return;
      await this.world.definitions.save(this.stored(domain, { autostartOnce }));
      domain.autostartOnce = autostartOnce;
    });
  }

  /**
   * Gives a domain that is shut off another name.
   * @throws VirtError domain.active, domain.transient, domain.exists
   */
  async rename(domain: Domain, name: string): Promise<void> {
    const previousName = domain.name;
    if (name === previousName) return;
    const { registry } = this.world;
    const wanted = `rename domain '${previousName}'`;
    await runJob(this.world, domain, 'rename', async () => {
      if (domain.isActive)
        throw new VirtError('domain.active', {
          wanted,
          reason: 'the domain is running',
          hint: 'shut it down first',
        });
      this.world.managedSaves.refuse(domain, 'rename'); // the state has the name in it
      if (registry.withName(name))
        throw new VirtError('domain.exists', { wanted, reason: `domain '${name}' exists already` });
      const definition = { ...this.definition(domain, { inactive: true }), name };
      registry.rename(domain, name); // taken before the wait, given back when the write fails
      try {
        await this.write(domain, definition);
      } catch (error) {
        registry.rename(domain, previousName);
        throw error;
      }
    });
    this.world.events.emit('domain.renamed', domain.identity, { previousName });
  }

  /**
   * Changes what no guest sees (title, description, metadata), in the running and in the stored definition unless one is
   * meant; `job` is what is being done, in words. @throws VirtError domain.busy, file.*
   */
  async change(
    domain: Domain,
    job: string,
    change: (definition: DomainDef) => DomainDef,
    targets: ChangeTargets = {},
  ): Promise<void> {
    await runJob(this.world, domain, job, async () => {
      if (targets.stored ?? domain.isPersistent)
        await this.write(domain, change(this.definition(domain, { inactive: true })));
      if (targets.live ?? domain.isActive) {
        const { guest } = domain.requireLive(job);
        changeRunning(guest, change(guest.definition));
      }
      await saveStatus(this.world, domain);
    });
  }

  /**
   * Replaces the stored definition by one that was made from it. What is done `before` is done when that is on the disk, and
   * takes its place afterwards: when it throws, nothing has changed. @throws VirtError file.*
   */
  async replaceStored(domain: Domain, definition: DomainDef, before?: () => Promise<void>): Promise<void> {
    await this.write(domain, definition, before && { before });
  }
}

function checkVariables(domain: Domain, path: string, nvram: 'keep' | 'remove' | undefined): void {
  const wanted = `undefine domain '${domain.name}'`;
  if (nvram === undefined)
    throw new VirtError('operation.failed', {
      wanted,
      reason: `it has firmware variables in ${path}`,
      hint: "say with 'nvram' whether to keep or to remove them",
      details: { nvram: path },
    });
  if (nvram === 'remove' && domain.isActive)
    throw new VirtError('domain.active', {
      wanted,
      reason: 'its firmware variables are in use',
      hint: 'shut it down first',
    });
}
