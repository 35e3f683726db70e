/** Lifecycle: what a client asks for: start, shut down, reboot, reset, suspend, resume, destroy. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { isSameProcess } from '../../base/spawn.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { isTemplate } from '../../model/domain/template.ts';
import { askDomainHooks, tellDomainHooks } from '../hooks/domain-hooks.ts';
import { Domain, type LiveDomain } from './domain.ts';
import { portForwardsOf } from './domain-controls.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveIntent, saveStatus } from './domain-status.ts';
import { droppedMedia } from './dropped-media.ts';
import { GuestWatch } from './guest-watch.ts';
import { filteredDefinition } from './saved-definition.ts';
import { openForLoading } from './saved-state-files.ts';
import { refuseForwardedPorts } from './user-forwards.ts';
import { type DomainWorld, factsOf, runJob, storedDefinition, storedXml } from './world.ts';

export interface StartRequest {
  readonly paused: boolean;
  /** The connection that takes the guest with it when it closes. */
  readonly autodestroyOwner?: object;
  readonly signal?: AbortSignal;
  /** Boot afresh where there is a saved state, and give that up. */
  readonly forceBoot?: boolean;
  /** Make UEFI's variables anew; a guest that goes on from a saved state keeps its own. */
  readonly resetNvram?: boolean;
  /** Read a saved state past the host's page cache. */
  readonly bypassCache?: boolean;
}

/** A saved state that a guest goes on from. */
interface SavedStart {
  /** What QEMU wrote. */
  readonly fd: number;
  /** Its virtual CPUs are to run. */
  readonly wasRunning: boolean;
  /** When it is loaded, before anything runs. */
  readonly onLoaded?: () => Promise<void>;
}

/** A start that is a part of a larger job: how the guest gets to what it is to be. */
export interface StartAs {
  readonly reason: 'booted' | 'from snapshot';
  /** Done to the stopped guest before it runs; when it throws, the guest is ended and the start has failed with that. */
  readonly prepare?: (guest: LiveGuest) => Promise<void>;
  /** What QEMU wrote of a guest: it goes on from there. */
  readonly memoryFd?: number;
}

export type ShutdownMode = 'auto' | 'acpi' | 'agent';

export class DomainLifecycle {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly watch: GuestWatch;
  private nextId = 1;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
    this.watch = new GuestWatch(world);
  }

  /** Takes a guest that runs already into the registry and listens to it. */
  adopt(domain: Domain, guest: LiveGuest, facts: { readonly id: number }): void {
    this.watch.adopt(domain, guest, facts);
  }

  /** Ids of guests found again must not be given a second time. */
  reserveIds(highest: number): void {
    this.nextId = Math.max(this.nextId, highest + 1);
  }

  /** The next number for a guest. */
  takeId(): number {
    return this.nextId++;
  }

  /**
   * Boots a stored domain.
   * @throws VirtError domain.active, domain.start-failed, file.*, qemu.*, kvm.unusable, network.*
   */
  async start(domain: Domain, request: StartRequest): Promise<void> {
    await runJob(
      this.world,
      domain,
      'start',
      async (job) => {
        if (domain.isActive) throw alreadyRunning(domain);
        if (domain.xml === undefined)
          throw new VirtError('domain.not-found', { reason: `domain '${domain.name}' is gone` });
        if (await this.isSaved(domain, request)) return this.startSaved(domain, request, job);
        const { xml } = domain;
        await this.launch(domain, { definition: storedDefinition(domain, xml), xml }, request, job);
      },
      { isCancellable: true, ...(request.signal && { signal: request.signal }) },
    );
  }

  /** True where a saved state is to be gone on from; one that is not wanted is given up here. */
  private async isSaved(domain: Domain, { forceBoot = false }: StartRequest): Promise<boolean> {
    const { managedSaves } = this.world;
    if (!managedSaves.has(domain)) return false;
    if (forceBoot) await managedSaves.remove(domain);
    return !forceBoot;
  }

  /** Goes on from the state that the daemon keeps; it is given up when it is loaded, before the guest runs. */
  private async startSaved(domain: Domain, request: StartRequest, job: RunningJob): Promise<void> {
    const { managedSaves, driver } = this.world;
    try {
      const state = await openForLoading(managedSaves.require(domain), {
        bypassCache: request.bypassCache ?? false,
      });
      try {
        const stored = domain.xml === undefined ? undefined : storedDefinition(domain, domain.xml);
        const filtered = await filteredDefinition(this.world.hooks, state.head, undefined, job.signal);
        const definition = await driver.complete(filtered, stored);
        const saved = {
          fd: state.fd,
          wasRunning: state.head.wasRunning,
          onLoaded: () => managedSaves.remove(domain),
        };
        await this.launch(domain, { definition, xml: storedXml(definition), saved }, request, job);
      } finally {
        await state.close();
      }
    } catch (error) {
      throw managedSaves.has(domain) ? orForceBoot(error, domain) : error;
    }
  }

  /**
   * Starts a guest from a saved state: a stored domain that is shut off runs with this definition once; without one it
   * is transient.
   * @throws VirtError domain.exists, domain.active, and as a start
   */
  async createFrom(definition: DomainDef, saved: SavedStart): Promise<Domain> {
    const { registry, driver } = this.world;
    const known = definition.uuid === undefined ? undefined : registry.withUuid(definition.uuid);
    const stored = known?.xml === undefined ? undefined : storedDefinition(known, known.xml);
    const complete = await driver.complete(definition, stored);
    return this.run(complete, { paused: false }, saved);
  }

  /**
   * Starts a guest that has no stored definition and is gone when it stops (libvirt's create). With the uuid and name
   * of a stored domain that is shut off, that domain runs with this definition once.
   */
  async create(definition: DomainDef, request: StartRequest, mode: 'strict' | 'lenient'): Promise<Domain> {
    const prepared = await this.definitions.prepare(definition, {
      mode: mode === 'strict' ? 'lenient' : mode,
    });
    return this.run(prepared, request);
  }

  /** Runs a complete definition: as the domain of its uuid and name where there is one. */
  private async run(prepared: DomainDef, request: StartRequest, saved?: SavedStart): Promise<Domain> {
    const uuid = prepared.uuid as string; // prepare gave it one
    const { registry } = this.world;
    const known = registry.withUuid(uuid) ?? registry.withName(prepared.name);
    if (known && (known.uuid !== uuid || known.name !== prepared.name))
      throw new VirtError('domain.exists', {
        wanted: `create domain '${prepared.name}'`,
        reason: `domain '${known.name}' with uuid ${known.uuid} exists already`,
        hint: 'use another name and uuid',
      });
    if (known?.isActive) throw alreadyRunning(known);
    const domain = known ?? new Domain(uuid, prepared.name);
    if (!known) registry.add(domain);
    await registry.claim(domain, () =>
      runJob(
        this.world,
        domain,
        saved === undefined ? 'start' : 'restore',
        async (job) => {
          if (domain.isActive) throw alreadyRunning(domain);
          const what = { definition: prepared, xml: storedXml(prepared), ...(saved && { saved }) };
          await this.launch(domain, what, request, job);
        },
        { isCancellable: true },
      ),
    );
    return domain;
  }

  /** Starts a guest with that definition as a part of a job of the domain, which the caller holds. */
  async startWithin(
    domain: Domain,
    definition: DomainDef,
    request: StartRequest & { readonly as: StartAs },
    job: RunningJob,
  ): Promise<void> {
    const { memoryFd: fd, prepare, ...as } = request.as;
    const saved = fd === undefined ? undefined : { fd, wasRunning: true };
    // Whether it runs is decided when all is there.
    const then = saved === undefined ? prepare : (prepare ?? (() => Promise.resolve()));
    const what = { definition, xml: storedXml(definition), ...(saved && { saved }) };
    await this.launch(domain, what, request, job, { ...as, ...(then && { prepare: then }) });
  }

  /** Ends a guest as a part of a job of the domain, which the caller holds. */
  async stopWithin(domain: Domain, reason: NonNullable<LiveDomain['stopReason']>): Promise<void> {
    const { live } = domain;
    if (live === undefined) return;
    live.stopReason ??= reason;
    const exit = await live.guest.kill({ force: true, graceMs: this.world.stopGraceMs });
    await this.watch.finish(domain, live, exit);
  }

  private async launch(
    domain: Domain,
    {
      definition,
      xml,
      saved,
    }: { readonly definition: DomainDef; readonly xml: string; readonly saved?: SavedStart },
    request: StartRequest,
    job: RunningJob,
    as: StartAs = { reason: 'booted' },
  ): Promise<void> {
    const paused = request.paused || saved?.wasRunning === false;
    this.refuseSecondQemu(domain);
    refuseTemplate(domain, definition);
    refuseForwardedPorts(this.world, domain, portForwardsOf(definition));
    const id = this.takeId();
    let isAdopted = false;
    const abort = new AbortController();
    domain.startAbort = abort;
    // A client that goes away doesn't stop a start it asked for; `destroy` and `job.cancel` do.
    job.signal.addEventListener('abort', () => abort.abort(), { once: true });
    try {
      await domain.finishing; // the run before this one may still be cleaned up after
      await saveIntent(this.world, domain, { id, xml });
      const options = {
        paused: paused || as.prepare !== undefined,
        resetNvram: request.resetNvram ?? false,
        ...(saved && { incoming: saved }),
        signal: abort.signal,
        onStep: (step: string) => job.progress({ step }),
        beforeLaunch: (complete: DomainDef) =>
          askDomainHooks(this.world.hooks, 'start', complete, abort.signal),
      };
      const guest = await this.startWithHooks(definition, abort.signal, () =>
        this.world.driver.start(definition, id, options),
      );
      const owner = request.autodestroyOwner;
      this.watch.adopt(domain, guest, { id, ...(owner && { autodestroyOwner: owner }) });
      isAdopted = true;
      await this.acknowledge(domain);
      await this.askStarted(domain);
      await this.bringTo(domain, request, as);
    } catch (error) {
      if (!isAdopted) domain.state = { state: 'shutoff', reason: 'failed' };
      await this.world.runtime.remove(domain.uuid).catch((failure: unknown) =>
        // The intent is found at the next start of the daemon, which then takes it away.
        this.world.log.error({ err: failure, domain: domain.name }, 'a status file could not be removed'),
      );
      throw error;
    } finally {
      domain.startAbort = undefined;
    }
    const reason = saved === undefined || as.reason !== 'booted' ? as.reason : 'restored';
    this.tellDropped(domain, definition);
    this.tellStarted(domain, reason, { paused, isPausedByRequest: request.paused });
  }

  /** Media that were missing, which the definition allows. */
  private tellDropped(domain: Domain, stored: DomainDef): void {
    const running = domain.live?.guest.definition;
    if (running === undefined) return;
    for (const { disk, alias, path, isDrive } of droppedMedia(stored, running))
      this.world.events.emit('domain.disk-changed', domain.identity, {
        disk,
        alias: alias ?? null,
        path,
        reason: isDrive ? 'drive is empty' : 'disk is left out',
      });
  }

  private tellStarted(
    domain: Domain,
    reason: StartAs['reason'] | 'restored',
    { paused, isPausedByRequest }: { readonly paused: boolean; readonly isPausedByRequest: boolean },
  ): void {
    const { events } = this.world;
    events.emit('domain.started', domain.identity, { reason });
    if (!paused) return;
    const isStartingUp = reason === 'booted' || (reason === 'restored' && isPausedByRequest);
    events.emit('domain.suspended', domain.identity, { reason: isStartingUp ? 'starting up' : reason });
  }

  /** From a stopped guest that has booted nothing to what it is to be. */
  private async bringTo(domain: Domain, { paused }: StartRequest, { prepare }: StartAs): Promise<void> {
    const { live } = domain;
    if (prepare === undefined || live === undefined) return;
    try {
      await prepare(live.guest);
      if (!paused) await live.guest.resume();
    } catch (error) {
      await this.endRefused(domain, live);
      throw error;
    }
    this.watch.changeState(
      domain,
      paused ? { state: 'paused', reason: 'from snapshot' } : { state: 'running', reason: 'from snapshot' },
    );
    await saveStatus(this.world, domain);
  }

  /** As libvirt: whatever has heard of the beginning of a start that fails also hears of its end. */
  private async startWithHooks(
    definition: DomainDef,
    signal: AbortSignal,
    start: () => Promise<LiveGuest>,
  ): Promise<LiveGuest> {
    const { hooks } = this.world;
    try {
      await askDomainHooks(hooks, 'prepare', definition, signal);
      return await start();
    } catch (error) {
      await tellDomainHooks(hooks, 'stopped', definition);
      await tellDomainHooks(hooks, 'release', definition);
      throw error;
    }
  }

  /** @throws VirtError hook.refused; the guest is ended then */
  private async askStarted(domain: Domain): Promise<void> {
    const { live } = domain;
    if (live === undefined) return;
    try {
      await askDomainHooks(this.world.hooks, 'started', live.guest.definition);
    } catch (error) {
      await this.endRefused(domain, live);
      throw error;
    }
  }

  /** A guest that was found again: its scripts may want it ended. Failures are logged. */
  async askReconnected(domain: Domain): Promise<void> {
    const { live } = domain;
    if (live === undefined) return;
    try {
      await askDomainHooks(this.world.hooks, 'reconnect', live.guest.definition);
    } catch (error) {
      this.world.log.warn(
        { domain: domain.name, reason: reasonOf(error) },
        'a hook refused a guest that was found again; it is ended',
      );
      await this.endRefused(domain, live);
    }
  }

  private async endRefused(domain: Domain, live: LiveDomain): Promise<void> {
    live.stopReason ??= 'failed';
    const exit = await live.guest.kill({ force: true, graceMs: 0 });
    await this.watch.finish(domain, live, exit);
  }

  /** Without its status on disk a guest would be lost with the daemon: then it is ended, and the start has failed. */
  private async acknowledge(domain: Domain): Promise<void> {
    const { live } = domain;
    try {
      await saveStatus(this.world, domain);
    } catch (error) {
      if (live !== undefined && domain.live === live) await this.endRefused(domain, live);
      throw error;
    }
    if (live !== undefined && domain.live === live) return;
    throw new VirtError('domain.start-failed', {
      wanted: `start domain '${domain.name}'`,
      reason: `the guest ended at once${domain.lastExit?.log ? `: ${domain.lastExit.log}` : ''}`,
      hint: `see 'vireo domain log ${domain.name}'`,
    });
  }

  /** @throws VirtError domain.state while a QEMU of that uuid runs that could not be taken over */
  private refuseSecondQemu(domain: Domain): void {
    const other = this.world.strangers.get(domain.uuid);
    if (other === undefined) return;
    if (!isSameProcess(other)) {
      this.world.strangers.delete(domain.uuid);
      return;
    }
    throw new VirtError('domain.state', {
      wanted: `start domain '${domain.name}'`,
      reason: `process ${other.pid} is a QEMU of this domain that the daemon could not take over`,
      hint: `shut the guest down from inside or end that process, then start the domain`,
      details: { pid: other.pid },
    });
  }

  /**
   * Asks the guest to shut down; returns when it is asked.
   * @throws VirtError domain.inactive, agent.unresponsive, agent.missing
   */
  async shutdown(domain: Domain, mode: ShutdownMode): Promise<void> {
    const live = domain.requireLive('shut down');
    await this.askForPowerOff(live, mode, 'powerdown');
  }

  /** Asks the guest to shut down, and resets it when it has: the same QEMU goes on. */
  async reboot(domain: Domain, mode: ShutdownMode): Promise<void> {
    const live = domain.requireLive('reboot');
    const usedAgent = await this.askForPowerOff(live, mode, 'reboot');
    // The agent reboots by itself; the power button switches off, and we switch on again.
    live.isRebooting = !usedAgent;
  }

  private async askForPowerOff(
    live: LiveDomain,
    mode: ShutdownMode,
    what: 'powerdown' | 'reboot',
  ): Promise<boolean> {
    if (mode !== 'acpi') {
      try {
        await live.guest.agentShutdown(what);
        return true;
      } catch (error) {
        if (mode === 'agent') throw error;
        if (!(error instanceof VirtError)) throw error;
      }
    }
    if (what === 'reboot') live.isRebooting = true;
    await live.guest.powerButton();
    return false;
  }

  async reset(domain: Domain): Promise<void> {
    const live = domain.requireLive('reset');
    await runJob(this.world, domain, 'reset', () => live.guest.reset());
  }

  async suspend(domain: Domain): Promise<void> {
    const live = domain.requireLive('suspend');
    await runJob(this.world, domain, 'suspend', async () => {
      if (domain.state.state === 'paused') return;
      await live.guest.suspend();
      this.watch.changeState(domain, { state: 'paused', reason: 'user' });
      await saveStatus(this.world, domain);
    });
  }

  /** @throws VirtError domain.state when the guest has crashed or is shutting down */
  async resume(domain: Domain): Promise<void> {
    const live = domain.requireLive('resume');
    await runJob(this.world, domain, 'resume', async () => {
      if (domain.state.state === 'running') return;
      await live.guest.resume();
      this.watch.changeState(domain, { state: 'running', reason: 'unpaused' });
      await saveStatus(this.world, domain);
    });
  }

  /**
   * Ends a guest at once. Doesn't wait for jobs: a job on a guest that hangs would hold it for ever; a start under
   * way is called off.
   * @throws VirtError domain.inactive; domain.busy when `graceful` and QEMU doesn't end by SIGTERM
   */
  async destroy(domain: Domain, options: { readonly graceful: boolean }): Promise<void> {
    if (domain.live === undefined && domain.startAbort !== undefined) {
      domain.startAbort.abort();
      await domain.jobs.run('destroy', async () => undefined, { waitMs: this.world.jobWaitMs });
      if (domain.live === undefined) return;
    }
    const live = domain.requireLive('destroy');
    live.stopReason ??= 'destroyed';
    const object = { type: 'domain', ...domain.identity } as const;
    await this.world.jobs.run({ kind: 'destroy', object }, async () => {
      try {
        const exit = await live.guest.kill({ force: !options.graceful, graceMs: this.world.stopGraceMs });
        await this.watch.finish(domain, live, exit);
      } catch (error) {
        delete live.stopReason;
        throw error;
      }
    });
  }

  /**
   * Ends a guest that has done its part: for that reason, and without asking it. One that is saved has let go of its disks,
   * so QEMU has nothing left to write and is not waited for.
   */
  async endAs(
    domain: Domain,
    live: LiveDomain,
    reason: NonNullable<LiveDomain['stopReason']>,
  ): Promise<void> {
    live.stopReason ??= reason;
    const graceMs = reason === 'saved' ? 0 : this.world.stopGraceMs;
    const exit = await live.guest.kill({ force: true, graceMs });
    await this.watch.finish(domain, live, exit);
  }

  /** Lets a guest that we had stopped run again, and says why it runs. */
  async goOn(domain: Domain, live: LiveDomain, reason: 'save canceled' | 'unpaused'): Promise<void> {
    await live.guest.resume();
    this.watch.changeState(domain, { state: 'running', reason });
    await saveStatus(this.world, domain);
  }

  /** Destroys the guests that a closed connection owned. */
  async connectionClosed(owner: object): Promise<void> {
    const owned = [...this.world.registry.all].filter((domain) => domain.live?.autodestroyOwner === owner);
    await Promise.all(owned.map((domain) => this.destroy(domain, { graceful: false })));
  }

  /** Facts for lists: those of the running side for a transient domain. */
  static facts(domain: Domain): ReturnType<typeof factsOf> | undefined {
    if (domain.facts) return domain.facts;
    if (domain.live) return factsOf(domain.live.guest.definition);
    return undefined;
  }
}

/** An error of a start that was to go on from a saved state, with the way around it. */
function orForceBoot(error: unknown, { name }: Domain): unknown {
  if (!(error instanceof VirtError) || error.code === 'operation.aborted') return error;
  const { code, wanted, reason, hint, details } = error;
  return new VirtError(code, {
    ...(wanted !== undefined && { wanted }),
    reason,
    hint: `${hint === undefined ? '' : `${hint}; `}its saved state is kept; 'vireo start ${name} --force-boot' gives it up and boots`,
    ...(details && { details }),
    cause: error,
  });
}

function alreadyRunning(domain: Domain): VirtError {
  return new VirtError('domain.active', {
    wanted: `start domain '${domain.name}'`,
    reason: 'domain is already running',
    hint: `look at it with 'vireo console ${domain.name}'`,
  });
}

/** What lies on a template's disks would be destroyed by a guest that writes to them. */
function refuseTemplate({ name }: Domain, definition: DomainDef): void {
  if (!isTemplate(definition)) return;
  throw new VirtError('domain.state', {
    wanted: `start domain '${name}'`,
    reason: 'it is a template, which does not run',
    hint: `make a domain of it with 'vireo template instance ${name} NAME', or release it with 'vireo template release ${name}'`,
  });
}
