/** Start-up: finds the guests of the daemon before again, and starts what is to be started. */
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../../base/errors.ts';
import type { GuestRecord, StrayGuest, StrayProcess } from '../../drivers/driver.ts';
import { isSaveWhole } from '../../drivers/saved-file.ts';
import { powerOrderNamespace, powerOrderOf } from '../../model/domain/power-order.ts';
import type { DomainState } from '../../model/domain/state.ts';
import { stateReasons } from '../../model/domain/state.ts';
import { AutostartMarker } from '../state/autostart-marker.ts';
import type { RuntimeStatus } from '../state/runtime.ts';
import { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import { recordOf, saveStatus } from './domain-status.ts';
import { type DomainWorld, parseTrusted } from './world.ts';

/** How often, and how long apart, processes of an interrupted start are looked for. */
const STRAY_LOOKS = 5;
const STRAY_LOOK_MS = 80;

export class DomainRecovery {
  private readonly world: DomainWorld;
  private readonly lifecycle: DomainLifecycle;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, lifecycle: DomainLifecycle, definitions: DomainDefinitions) {
    this.world = world;
    this.lifecycle = lifecycle;
    this.definitions = definitions;
  }

  /** Finds the running guests again, all at once; those that are gone are marked with how they ended. */
  async reattach(): Promise<void> {
    const found = this.world.runtime.loadAll();
    this.lifecycle.launch.reserveIds(Math.max(0, ...found.map((status) => status.id)));
    const records = found.map(recordOf).filter((record): record is GuestRecord => record !== undefined);
    const intents = new Set(found.filter(isIntent).map(({ uuid }) => uuid));
    const strays = await this.findStrays(records, intents);
    const isUnfinished = ({ uuid }: StrayGuest) => uuid === undefined || intents.has(uuid);
    await Promise.all(strays.filter(isUnfinished).map((stray) => this.endUnfinished(stray)));
    await Promise.all(found.map((status) => this.reattachOne(status)));
    // After the others: one of these may be of a domain that runs in another process.
    await Promise.all(strays.filter((stray) => !isUnfinished(stray)).map((stray) => this.takeIn(stray)));
  }

  /**
   * Looks for guests that no record names. A process between its spawn and its exec can't be told from any other, and
   * a daemon can be killed right there: so as long as an interrupted start has shown no process, look again for a while.
   */
  private async findStrays(
    records: readonly GuestRecord[],
    intents: ReadonlySet<string>,
  ): Promise<StrayGuest[]> {
    for (let look = 1; ; look++) {
      const strays = await this.world.driver.findStrays(records);
      const seen = new Set(strays.map(({ uuid }) => uuid));
      if (look === STRAY_LOOKS || [...intents].every((uuid) => seen.has(uuid))) return strays;
      await sleep(STRAY_LOOK_MS);
    }
  }

  /** Ends a guest whose start was interrupted: only the intent is on disk, so it was acknowledged to nobody. */
  private async endUnfinished(stray: StrayGuest): Promise<void> {
    const { uuid, directory } = stray;
    this.world.log.warn({ uuid, directory }, 'ending a start that was interrupted');
    try {
      await this.world.driver.endStray(stray);
    } catch (error) {
      const qemu = qemuOf(stray);
      if (uuid !== undefined && qemu !== undefined) this.world.strangers.set(uuid, qemu);
      this.world.log.error(
        { err: error, uuid, directory },
        'a start that was interrupted could not be ended',
      );
    }
  }

  /**
   * A guest that runs without a readable status was acknowledged, so it is nobody's to end: it is taken over with the
   * stored definition, or left alone and not started a second time.
   */
  private async takeIn(stray: StrayGuest): Promise<void> {
    const qemu = qemuOf(stray);
    if (stray.uuid === undefined || qemu === undefined) return;
    const facts = { uuid: stray.uuid, pid: qemu.pid, directory: stray.directory };
    try {
      const domain = this.world.registry.withUuid(stray.uuid);
      if (domain?.xml === undefined) throw new Error('no definition of it is stored');
      if (domain.isActive) throw new Error('the domain runs in another process');
      const definition = parseTrusted(domain.xml);
      const record = await this.world.driver.recordOf(stray, definition);
      const guest = record && (await this.world.driver.reattach(record, definition));
      if (guest === undefined) throw new Error('it is no QEMU of that domain, or it has just ended');
      this.lifecycle.launch.adopt(domain, guest, { id: this.lifecycle.launch.takeId() });
      await saveStatus(this.world, domain);
      this.world.log.warn(facts, 'a guest without a readable status was found again by its process');
    } catch (error) {
      this.world.strangers.set(stray.uuid, qemu);
      this.world.log.error(
        { ...facts, reason: reasonOf(error) },
        'a running guest has no readable status and could not be taken over; it is left alone',
      );
    }
  }

  private async reattachOne(status: RuntimeStatus): Promise<void> {
    const record = recordOf(status);
    if (isIntent(status) || record === undefined) return this.world.runtime.remove(status.uuid);
    try {
      const definition = parseTrusted(status.xml);
      const guest = await this.world.driver.reattach(record, definition);
      const domain = this.domainOf(status);
      if (guest === undefined) {
        const log = await this.world.driver.logTail(definition, 4096);
        await this.world.driver.cleanUp(record, definition);
        return await ((await hasBeenSaved(record)) ? this.markSaved(domain) : this.markGone(domain, log));
      }
      if (record.loaded?.isKept === true) await this.world.managedSaves.remove(domain);
      this.lifecycle.launch.adopt(domain, guest, { id: status.id });
      restoreReason(domain, status);
      await saveStatus(this.world, domain);
      // Not waited for: a script may take its time, and the others are to be found.
      void this.lifecycle.launch
        .askReconnected(domain)
        .catch((error: unknown) =>
          this.world.log.error({ err: error, domain: domain.name }, 'a refused guest could not be ended'),
        );
      if (status.autodestroy) this.destroyOrphan(domain);
    } catch (error) {
      this.world.strangers.set(status.uuid, record);
      this.world.log.error(
        { err: error, domain: status.name, pid: record.pid },
        'a running guest could not be taken over; it is left alone',
      );
    }
    return undefined;
  }

  /** The connection that was to take the guest with it closed when the daemon ended. Nobody waits for its end. */
  private destroyOrphan(domain: Domain): void {
    this.lifecycle
      .destroy(domain, { graceful: false })
      .catch((error: unknown) =>
        this.world.log.error({ err: error, domain: domain.name }, 'autodestroy failed'),
      );
  }

  private domainOf(status: RuntimeStatus): Domain {
    const known = this.world.registry.withUuid(status.uuid);
    if (known) return known;
    const domain = new Domain(status.uuid, status.name);
    this.world.registry.add(domain);
    return domain;
  }

  /** QEMU runs with -no-shutdown, so a process that vanished while no daemon ran has crashed or was killed. */
  private async markGone(domain: Domain, log: string): Promise<void> {
    this.world.log.warn({ domain: domain.name }, 'a guest ended by itself while no daemon ran');
    domain.state = { state: 'shutoff', reason: 'crashed' };
    domain.lastExit = { reason: 'crashed', atMs: Date.now(), log };
    await this.world.runtime.remove(domain.uuid);
    this.world.events.emit('domain.crashed', domain.identity, { reason: 'crashed', detail: log });
    if (!domain.isPersistent) this.world.registry.remove(domain);
  }

  /** Its state was whole in a file when the daemon died, which had ended it or was about to. */
  private async markSaved(domain: Domain): Promise<void> {
    this.world.log.info({ domain: domain.name }, 'a guest was saved and has ended while no daemon ran');
    domain.state = { state: 'shutoff', reason: 'saved' };
    domain.lastExit = { reason: 'saved', atMs: Date.now() };
    await this.world.runtime.remove(domain.uuid);
    this.world.events.emit('domain.stopped', domain.identity, { reason: 'saved' });
    if (!domain.isPersistent) this.world.registry.remove(domain);
  }

  /**
   * Starts the domains marked so, once in the life of the runtime directory: not again when the daemon restarts.
   * One that fails is logged and the others go on. When a daemon dies in the middle, the next one starts the rest.
   */
  async autostart(marker: string): Promise<void> {
    const attempts = new AutostartMarker(marker);
    if (attempts.isDone) return;
    for (const { domain, startDelaySeconds } of this.inOrder()) {
      const { autostartOnce, uuid } = domain;
      if (attempts.has(uuid)) continue;
      // The mark goes first: a host that such a guest brings down must not start it again.
      if (autostartOnce) await this.forgetOnce(domain);
      const isStarted = !domain.isActive && (await this.autostartOne(domain));
      attempts.note(uuid);
      if (isStarted && startDelaySeconds > 0)
        await sleep(startDelaySeconds * 1000, undefined, { ref: false });
    }
    attempts.finish();
  }

  /** Those that start with the host, the lowest order first, else as they are listed. */
  private inOrder(): {
    readonly domain: Domain;
    readonly order: number;
    readonly startDelaySeconds: number;
  }[] {
    return [...this.world.registry.all]
      .filter(({ autostart, autostartOnce }) => autostart || autostartOnce)
      .map((domain) => ({ domain, ...this.orderOf(domain) }))
      .sort((a, b) => a.order - b.order);
  }

  private orderOf({ name, xml }: Domain): { readonly order: number; readonly startDelaySeconds: number } {
    try {
      // Most say nothing of it, and parsing all of them would hold up the first.
      if (xml?.includes(powerOrderNamespace) === true) return powerOrderOf(parseTrusted(xml));
    } catch (error) {
      this.world.log.warn({ domain: name, reason: reasonOf(error) }, 'the order of a guest cannot be read');
    }
    return { order: 0, startDelaySeconds: 0 };
  }

  private async forgetOnce(domain: Domain): Promise<void> {
    try {
      await this.definitions.setAutostartOnce(domain, false);
    } catch (error) {
      this.world.log.error({ err: error, domain: domain.name }, 'autostart once was not forgotten');
    }
  }

  private async autostartOne(domain: Domain): Promise<boolean> {
    try {
      await this.lifecycle.start(domain, { paused: false });
      return true;
    } catch (error) {
      this.world.log.error({ err: error, domain: domain.name }, 'autostart failed');
      return false;
    }
  }
}

/** True for the status of a start that never came to its end. */
function isIntent(status: RuntimeStatus): boolean {
  return status.phase === 'starting';
}

/** A file of a snapshot or a dump is no save: its guest was to go on. */
async function hasBeenSaved({ saving }: GuestRecord): Promise<boolean> {
  return saving !== undefined && saving.goesOn !== true && (await isSaveWhole(saving));
}

function qemuOf(stray: StrayGuest): StrayProcess | undefined {
  return stray.processes.find(({ argv }) => stray.uuid !== undefined && argv.includes(stray.uuid));
}

/** QEMU knows that a guest is paused, but not why: the status file does. */
function restoreReason(domain: Domain, status: RuntimeStatus): void {
  if (domain.state.state !== status.state) return;
  const reasons: readonly string[] = stateReasons[domain.state.state];
  if (reasons.includes(status.reason))
    domain.state = { ...domain.state, reason: status.reason } as DomainState;
}
