/** Watches running guests: what their own power-off, reset, panic or death leads to, and what clients are told of it. */
import { reasonOf } from '../../base/errors.ts';
import type { GuestEvent, GuestExit, LiveGuest } from '../../drivers/driver.ts';
import type { DomainState } from '../../model/domain/state.ts';
import { tellDomainHooks } from '../hooks/domain-hooks.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import { passOn } from './guest-tellings.ts';
import { followReceiveFilter, followReceiveFilters } from './receive-filters.ts';
import type { DomainWorld } from './world.ts';

export class GuestWatch {
  private readonly world: DomainWorld;

  constructor(world: DomainWorld) {
    this.world = world;
  }

  /** Takes a running guest into the registry and listens to it. `isFound`: it ran before. */
  adopt(
    domain: Domain,
    guest: LiveGuest,
    {
      isFound = false,
      ...facts
    }: { readonly id: number; readonly autodestroyOwner?: object; readonly isFound?: boolean },
  ): void {
    const live: LiveDomain = { guest, ...facts, isRebooting: false, ownMacs: new Map() };
    this.world.registry.setLive(domain, live);
    domain.state = guest.state;
    domain.lastExit = undefined;
    guest.onEvent((event) => this.onGuestEvent(domain, live, event));
    guest.onMonitorEvent((event) => this.world.monitorEvents.tell(domain, event));
    for (const follow of this.world.followers) follow(domain, guest);
    this.background(domain, 'receive filters', () =>
      followReceiveFilters(this.world, domain, guest, { isFound }),
    );
    guest.exited
      .then(
        (exit) => this.finish(domain, live, exit),
        (error: unknown) => this.finish(domain, live, { stderrTail: reasonOf(error) }),
      )
      .catch((error: unknown) =>
        this.world.log.error({ err: error, domain: domain.name }, 'the end of a guest was not handled'),
      );
  }

  private onGuestEvent(domain: Domain, live: LiveDomain, event: GuestEvent): void {
    if (domain.live !== live) return;
    const { events } = this.world;
    const { identity } = domain;
    switch (event.kind) {
      case 'state':
        this.changeState(domain, event.state);
        break;
      case 'reset':
        events.emit('domain.rebooted', identity, { byGuest: event.byGuest });
        break;
      case 'powered-off':
        this.background(domain, 'power-off', () => this.onPowerOff(domain, live, event));
        break;
      case 'panicked':
        this.background(domain, 'panic', () => this.onPanic(domain, live));
        break;
      case 'saved':
        this.background(domain, 'the end of a saved guest', () => this.onSaved(live));
        break;
      case 'rtc-change':
        // As libvirt: the running definition knows it, the stored one stays as it is.
        this.background(domain, 'clock', () => saveStatus(this.world, domain));
        events.emit('domain.rtc-changed', identity, { offsetSeconds: event.offsetSeconds });
        break;
      case 'receive-filter':
        this.background(domain, 'receive filter', () =>
          followReceiveFilter(this.world, domain, live.guest, event.alias),
        );
        break;
      case 'device-deleted':
        this.background(domain, 'device', () => saveStatus(this.world, domain));
        live.ownMacs.delete(event.alias);
        events.emit('domain.device-removed', identity, { alias: event.alias });
        break;
      case 'helper-ended': {
        const { helper, alias } = event;
        this.world.log.warn(
          { domain: domain.name, helper, alias },
          'a helper of a guest has ended before it',
        );
        events.emit('domain.helper-ended', identity, { helper, alias });
        break;
      }
      case 'balloon':
        Object.assign(live.guest.definition, {
          currentMemoryKiB: Math.floor(event.actualBytes / 1024),
        });
        this.background(domain, 'balloon', () => saveStatus(this.world, domain));
        events.emit('domain.balloon-changed', identity, { memoryBytes: event.actualBytes });
        break;
      default:
        passOn(events, domain, live, event);
    }
  }

  /** Notes a state that QEMU or a call of ours told, and says so. */
  changeState(domain: Domain, state: DomainState): void {
    const previous = domain.state;
    // QEMU doesn't remember reasons: what we know of the same state is better than nothing.
    if (previous.state === state.state && state.reason === 'unknown') return;
    domain.state = state;
    if (previous.state === state.state) return;
    if (state.state === 'paused')
      this.world.events.emit('domain.suspended', domain.identity, { reason: state.reason });
    // One that was switched off and on again was rebooted, which is told.
    if (state.state === 'running' && previous.state !== 'shutoff' && previous.state !== 'shutdown')
      this.world.events.emit('domain.resumed', domain.identity, { reason: state.reason });
    this.background(domain, 'status', () => saveStatus(this.world, domain));
  }

  /** Work that a guest's own doing started: nobody waits for it, so its failure goes to the log. */
  private background(domain: Domain, what: string, work: () => Promise<void>): void {
    work().catch((error: unknown) =>
      this.world.log.error({ err: error, domain: domain.name }, `${what} was not handled`),
    );
  }

  /** The guest is off, QEMU waits: on_poweroff decides, unless a reboot by the power button is under way. */
  private async onPowerOff(
    domain: Domain,
    live: LiveDomain,
    { byGuest, isReset = false }: { readonly byGuest: boolean; readonly isReset?: boolean },
  ): Promise<void> {
    const { definition } = live.guest;
    // A reset becomes a power-off only where on_reboot says destroy.
    const goesOn = live.isRebooting ? definition.onReboot !== 'destroy' : definition.onPoweroff === 'restart';
    if (goesOn && !isReset && live.stopReason === undefined) {
      live.isRebooting = false;
      await live.guest.reset();
      await live.guest.resume();
      this.world.events.emit('domain.rebooted', domain.identity, { byGuest });
      return;
    }
    domain.state = { state: 'shutdown', reason: 'user' };
    this.world.events.emit('domain.shutdown', domain.identity, { reason: byGuest ? 'guest' : 'host' });
    if (definition.onPoweroff === 'preserve' && !isReset) return saveStatus(this.world, domain);
    live.stopReason ??= 'shutdown';
    await live.guest.drainConsoles();
    await live.guest.kill({ force: true, graceMs: this.world.stopGraceMs });
  }

  /** Its state is whole in a file: it must not run on. */
  private async onSaved(live: LiveDomain): Promise<void> {
    live.stopReason ??= 'saved';
    await live.guest.kill({ force: true, graceMs: this.world.stopGraceMs });
  }

  private async onPanic(domain: Domain, live: LiveDomain): Promise<void> {
    domain.state = { state: 'crashed', reason: 'panicked' };
    this.world.events.emit('domain.crashed', domain.identity, { reason: 'panicked', detail: '' });
    const policy = live.guest.definition.onCrash ?? 'destroy';
    if (policy === 'restart') {
      await live.guest.reset();
      await live.guest.resume();
      return;
    }
    if (policy === 'preserve') return saveStatus(this.world, domain);
    live.stopReason ??= 'crashed';
    await live.guest.kill({ force: true, graceMs: this.world.stopGraceMs });
  }

  /** The process is gone. Whoever notices first does the work; the others wait for it. */
  async finish(domain: Domain, live: LiveDomain, exit: GuestExit): Promise<void> {
    if (domain.live === live) domain.finishing = this.wrapUp(domain, live, exit);
    await domain.finishing;
  }

  /** Says that the guest has ended, cleans up, and forgets a transient domain. */
  private async wrapUp(domain: Domain, live: LiveDomain, exit: GuestExit): Promise<void> {
    const reason = live.stopReason ?? 'crashed';
    const identity = domain.identity;
    this.world.registry.clearLive(domain);
    domain.state = { state: 'shutoff', reason };
    domain.lastExit = {
      reason,
      atMs: Date.now(),
      ...(live.stopReason === undefined && { log: exit.stderrTail, how: howItEnded(exit) }),
    };
    if (live.stopReason === undefined) {
      this.world.log.warn(
        { domain: domain.name, how: howItEnded(exit), stderr: exit.stderrTail.slice(-1000) },
        'QEMU ended by itself',
      );
      this.world.events.emit('domain.crashed', identity, { reason: 'crashed', detail: exit.stderrTail });
    }
    this.world.registry.forgetIfGone(domain);
    await tellDomainHooks(this.world.hooks, 'stopped', live.guest.definition);
    try {
      await this.world.driver.cleanUp(live.guest.record, live.guest.definition);
      await this.world.runtime.remove(domain.uuid);
      // A saved guest goes on some day; its state is in the file, too.
      if (!domain.isPersistent && reason !== 'saved')
        await this.world.tpmStates.forget(live.guest.definition);
    } catch (error) {
      // The guest is gone whatever is left of it; the next start of the daemon finds that and cleans up.
      this.world.log.error({ err: error, domain: domain.name }, 'cleaning up after a guest failed');
    }
    await tellDomainHooks(this.world.hooks, 'release', live.guest.definition);
    this.world.events.emit('domain.stopped', identity, { reason });
  }
}

/** For people: `SIGSEGV`, `status 1`; `unknown` of a process that was not this daemon's child. */
function howItEnded({ signal, exitCode }: GuestExit): string {
  return signal ?? (exitCode === undefined ? 'unknown' : `status ${exitCode}`);
}
