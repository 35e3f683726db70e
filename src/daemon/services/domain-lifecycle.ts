/** Lifecycle: what a client asks for: start, shut down, reboot, reset, suspend, resume, destroy. */
import { VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { Domain, type LiveDomain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { GuestLaunch, type SavedStart, type StartAs, type StartRequest } from './guest-launch.ts';
import { GuestWatch } from './guest-watch.ts';
import { filteredDefinition } from './saved-definition.ts';
import { openForLoading } from './saved-state-files.ts';
import { type DomainWorld, factsOf, runJob, storedDefinition, storedXml } from './world.ts';

export type ShutdownMode = 'auto' | 'acpi' | 'agent';

export class DomainLifecycle {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly watch: GuestWatch;
  /** From a complete definition to a guest that runs. */
  readonly launch: GuestLaunch;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
    this.watch = new GuestWatch(world);
    this.launch = new GuestLaunch(world, this.watch);
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
        await this.launch.run(domain, { definition: storedDefinition(domain, xml), xml }, request, job);
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
          sparse: state.sparse,
          wasRunning: state.head.wasRunning,
          giveUp: () => managedSaves.remove(domain),
        };
        await this.launch.run(domain, { definition, xml: storedXml(definition), saved }, request, job);
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
          await this.launch.run(domain, what, request, job);
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
    const { memory, prepare, ...as } = request.as;
    const saved = memory && { ...memory, wasRunning: true };
    // Whether it runs is decided when all is there.
    const then = saved === undefined ? prepare : (prepare ?? (() => Promise.resolve()));
    const what = { definition, xml: storedXml(definition), ...(saved && { saved }) };
    await this.launch.run(domain, what, request, job, { ...as, ...(then && { prepare: then }) });
  }

  /** Ends a guest as a part of a job of the domain, which the caller holds. */
  async stopWithin(domain: Domain, reason: NonNullable<LiveDomain['stopReason']>): Promise<void> {
    const { live } = domain;
    if (live === undefined) return;
    live.stopReason ??= reason;
    const exit = await live.guest.kill({ force: true, graceMs: this.world.stopGraceMs });
    await this.watch.finish(domain, live, exit);
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
      for (const ask of this.launch.beforeRun) ask(domain);
      await live.guest.resume();
      this.watch.changeState(domain, { state: 'running', reason: 'unpaused' });
      await saveStatus(this.world, domain);
    });
  }

  /**
   * Ends a guest at once. Doesn't wait for jobs: a job on a guest that hangs would hold it for ever; a start under
   * way is called off. With `removeLogs` what QEMU wrote goes with it.
   * @throws VirtError domain.inactive; domain.busy when `graceful` and QEMU doesn't end by SIGTERM
   */
  async destroy(
    domain: Domain,
    options: { readonly graceful: boolean; readonly removeLogs?: boolean },
  ): Promise<void> {
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
    if (options.removeLogs === true) await this.world.driver.removeLogs(live.guest.definition);
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
