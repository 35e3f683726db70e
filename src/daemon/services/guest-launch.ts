/** Launching: from a complete definition to a guest that runs, is known on disk, and was agreed to by the host's scripts. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { isSameProcess } from '../../base/spawn.ts';
import type { IncomingState, LiveGuest } from '../../drivers/driver.ts';
import type { SparseForm } from '../../drivers/live-memory.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { isTemplate } from '../../model/domain/template.ts';
import { askDomainHooks, tellDomainHooks } from '../hooks/domain-hooks.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { portForwardsOf } from './domain-controls.ts';
import { requireCounted } from './domain-perf.ts';
import { saveIntent, saveLoaded, saveStatus } from './domain-status.ts';
import { droppedMedia } from './dropped-media.ts';
import type { GuestWatch } from './guest-watch.ts';
import { refuseForwardedPorts } from './user-forwards.ts';
import type { DomainWorld } from './world.ts';

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
export interface SavedStart {
  /** What QEMU wrote. */
  readonly fd: number;
  /** How it is read, for a sparse one. */
  readonly sparse?: SparseForm | undefined;
  /** Its virtual CPUs are to run. */
  readonly wasRunning: boolean;
  /** Gives it up, where the daemon keeps it: when it is loaded, before anything runs. */
  readonly giveUp?: () => Promise<void>;
}

/** A start that is a part of a larger job: how the guest gets to what it is to be. */
export interface StartAs {
  readonly reason: 'booted' | 'from snapshot';
  /** Done to the stopped guest before it runs; when it throws, the guest is ended and the start has failed with that. */
  readonly prepare?: (guest: LiveGuest) => Promise<void>;
  /** What QEMU wrote of a guest: it goes on from there. */
  readonly memory?: Pick<SavedStart, 'fd' | 'sparse'>;
}

export class GuestLaunch {
  private readonly world: DomainWorld;
  private readonly watch: GuestWatch;
  private nextId = 1;
  /** Asked before a guest boots, goes on from a saved state, or is resumed: whoever throws keeps it from that. */
  readonly beforeRun: ((domain: Domain) => void)[] = [];

  constructor(world: DomainWorld, watch: GuestWatch) {
    this.world = world;
    this.watch = watch;
  }

  /** Takes a guest that runs already into the registry and listens to it. */
  adopt(domain: Domain, guest: LiveGuest, facts: { readonly id: number }): void {
    this.watch.adopt(domain, guest, { ...facts, isFound: true });
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
   * A guest with that definition, as a part of a job of the domain, which the caller holds.
   * @throws VirtError domain.state, domain.start-failed, hook.refused, file.*, qemu.*, kvm.unusable, network.*
   */
  async run(
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
    this.refuseStart(domain, definition, as);
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
        ...(saved && { incoming: this.incoming(domain, saved, { id, paused, request, as }) }),
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
      await this.dropStatus(domain);
      throw error;
    } finally {
      domain.startAbort = undefined;
    }
    const reason = saved === undefined || as.reason !== 'booted' ? as.reason : 'restored';
    this.tellDropped(domain, definition);
    this.tellStarted(domain, reason, { paused, isPausedByRequest: request.paused });
  }

  /** What speaks against a start before anything of it is done. @throws VirtError domain.state, network.* */
  private refuseStart(domain: Domain, definition: DomainDef, as: StartAs): void {
    this.refuseSecondQemu(domain);
    refuseTemplate(domain, definition);
    requireCounted(definition);
    if (as.reason === 'booted') for (const ask of this.beforeRun) ask(domain);
    refuseForwardedPorts(this.world, domain, portForwardsOf(definition));
  }

  /** A failure is logged: the intent is found at the next start of the daemon, which then takes it away. */
  private async dropStatus({ uuid, name }: Domain): Promise<void> {
    const { runtime, log } = this.world;
    await runtime
      .remove(uuid)
      .catch((failure: unknown) =>
        log.error({ err: failure, domain: name }, 'a status file could not be removed'),
      );
  }

  /** A state is loaded once: what is noted, and given up, before the guest runs. A snapshot's is kept, and has its own notes. */
  private incoming(
    domain: Domain,
    { giveUp, fd, sparse }: SavedStart,
    {
      id,
      paused,
      request,
      as,
    }: {
      readonly id: number;
      readonly paused: boolean;
      readonly request: StartRequest;
      readonly as: StartAs;
    },
  ): IncomingState {
    if (as.reason !== 'booted') return { fd, sparse };
    const autodestroy = request.autodestroyOwner !== undefined;
    const onLoaded = async (guest: LiveGuest): Promise<void> => {
      await saveLoaded(this.world, domain, guest, {
        ...{ id, autodestroy, runs: !paused },
        isKept: giveUp !== undefined,
      });
      await giveUp?.();
    };
    return { fd, sparse, onLoaded };
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
